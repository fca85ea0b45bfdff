"""Features of benchmark sets are those that the bundle's heads read; class orders are those of the benchmark."""

from pathlib import Path

import pytest
import torch
from synthetic.benchmark_sets import make_shared
from synthetic.datasets import make_data, run_bundle

from benchmarks import frozen
from benchmarks.frozen import METHODS, check_sets, draw, extract, of_tasks, orders
from benchmarks.learners import ClosedForm
from dynammo.data.tasks import TaskSequence
from dynammo.errors import UserError

pytestmark = pytest.mark.usefixtures("in_root")


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DYNAMMO_SHARED", str(tmp_path))
    return make_shared(tmp_path)


@pytest.mark.parametrize(("method", "images"), zip(METHODS, (6, 1), strict=True))  # 1: no folds, which take seconds
def test_learning_them_gives_the_head_that_the_bundle_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, images: int
) -> None:
    monkeypatch.setenv("DYNAMMO_SHARED", str(tmp_path))
    shared = make_shared(tmp_path, train=images)
    configs = [f"configs/{name}.yaml" for name in ("datasets/derm8", f"methods/{method}")]
    run_bundle(
        "training", ["bundle/configs/train.yaml", *configs], output_dir=str(shared / "run"), mlflow=False, seed=1,
        class_order="random", increments=2,
    )  # fmt: skip
    found = extract("derm8", method)
    tasks = TaskSequence(found.classes, **orders("derm8")[1])
    ordered, learner = found.ordered(tasks), ClosedForm()
    for _, features, labels in of_tasks(ordered, tasks):
        learner.learn(features, labels)
    model = torch.load(shared / "run" / "model.pt", weights_only=True)
    assert learner.head is not None
    torch.testing.assert_close(learner.head.weight, model["heads.0.weight"], rtol=1e-3, atol=1e-4)


def test_features_are_kept_until_images_change(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = extract("derm8", "light", shared / "features")
    assert first.train.shape == (24, 1, 256) and first.test.shape == (12, 256) and first.seconds > 0
    with monkeypatch.context() as patched:
        patched.setattr(frozen, "extract_copies", lambda *_: pytest.fail("passed the images again"))
        again = extract("derm8", "light", shared / "features")
    assert again.classes == first.classes and torch.equal(again.train, first.train)
    make_data(shared / "data" / "derm8", train=7, test=3)
    assert len(extract("derm8", "light", shared / "features").train) == 28


def test_orders_are_those_of_the_benchmark() -> None:
    found = orders("path11")
    assert list(found) == [0, 1, 2]
    assert found[2] == {"increments": [2, 2, 2, 2, 3], "class_order": "random", "seed": 2}


def test_fewer_images_are_among_more() -> None:
    labels = torch.arange(3).repeat(10)
    few, more = (draw(labels, images, 5, range(1, 3)) for images in (2, 4))
    assert [int(few[labels == label].sum()) for label in range(3)] == [10, 2, 2]
    assert not (few & ~more).any() and int(more.sum()) == 18
    assert not torch.equal(draw(labels, 2, 6, range(1, 3)), few)


def test_no_sets_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DYNAMMO_SHARED", str(tmp_path))
    with pytest.raises(UserError, match="set DYNAMMO_SHARED"):
        check_sets(["derm8"])


def test_an_unknown_set_is_a_sentence() -> None:
    with pytest.raises(UserError, match="--set is 'derm9'; expected one of derm8, path11, radio12"):
        check_sets(["derm9"])
