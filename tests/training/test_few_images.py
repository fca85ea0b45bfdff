"""Rare diseases: one or two images of a class are learnt; so are images that leave a batch of one."""

import json
from pathlib import Path

import pytest
import torch
from synthetic.datasets import make_data
from synthetic.images_of_classes import write_classes
from synthetic.runs import make_trainer

from dynammo.errors import UserError
from dynammo.runs.load import load_model

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")

QUICK = {"increments": 10, "stages": 1, "image_size": 16, "epochs": 3, "head_epochs": 20}


@pytest.mark.parametrize("method", ["dynammo", "analytic"])
@pytest.mark.parametrize("images", [1, 2])
def test_few_images_of_each_class_are_learnt(tmp_path: Path, method: str, images: int) -> None:
    data = write_classes(tmp_path / "data", classes=10, train=images, test=2)
    exemplars = 0 if method == "analytic" else "all"
    make_trainer(data, tmp_path / "run", method, **{**QUICK, "exemplars": exemplars}).learn()
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["results"][0]["mean_class_recall"] > 0.4  # chance: 0.1
    trust = record["trust"]
    if images == 1:
        assert trust["unknown_threshold"] is None is trust["out_of_distribution_threshold"]
    else:
        assert 0 < trust["out_of_distribution_threshold"] < 30
        assert (trust["unknown_threshold"] is None) == (method == "analytic")
    assert all(p.isfinite().all() for p in load_model(tmp_path / "run").network.state_dict().values())


@pytest.mark.parametrize("method", ["dynammo", "analytic"])
@pytest.mark.parametrize("kind", ["blank", "copies"])
def test_images_that_do_not_differ_are_learnt(tmp_path: Path, method: str, kind: str) -> None:
    data = write_classes(tmp_path / "data", classes=10, train=3, test=1, kind=kind)
    exemplars = 0 if method == "analytic" else "all"
    make_trainer(data, tmp_path / "run", method, **{**QUICK, "epochs": 1, "exemplars": exemplars}).learn()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["trust"]["out_of_distribution_threshold"] is None


@pytest.mark.parametrize(
    "settings", [{}, {"merge_batchnorm": "recalibrate"}, {"batch_size": 1, "increments": [1, 1, 2], "exemplars": 4}]
)
def test_a_batch_of_one_image_of_one_pixel_is_learnt(tmp_path: Path, settings: dict[str, object]) -> None:
    """24 px leave 3 x 3 before the last of three stages, one pixel within its adapter: 17 images, 16 in a batch."""
    data = make_data(tmp_path / "data", train=5, test=1)
    for file in ("red/red_3.png", "red/red_4.png", "white/white_4.png"):
        (data / "train" / file).unlink()
    small = {"increments": 4, "stages": 3, "image_size": 24, "epochs": 1, "batch_size": 16, "head_epochs": 1}
    trainer = make_trainer(data, tmp_path / "run", **{**small, **settings})  # type: ignore[arg-type]
    trainer.learn()
    assert trainer.tasks_learnt == len(trainer.tasks)


@pytest.mark.parametrize("method", ["dynammo", "analytic", "finetune"])
@pytest.mark.parametrize("epochs", [1, 3])
def test_a_rate_that_diverges_is_one_sentence(tmp_path: Path, method: str, epochs: int) -> None:
    data = make_data(tmp_path / "data", train=4, test=1)
    with pytest.raises(UserError, match=r"diverged; type a lower --learning_rate"):
        make_trainer(
            data, tmp_path / "run", method, stages=2, image_size=16, learning_rate=1e9, epochs=epochs, batch_size=2
        ).learn()
    assert not (tmp_path / "run" / "model.pt").exists()


def test_heads_that_diverge_are_one_sentence() -> None:
    from dynammo.heads.linear import tune_heads

    heads = torch.nn.ModuleList([torch.nn.Linear(3, 2)])
    features, labels = [torch.full((4, 3), 1e30)], [torch.tensor([0, 1, 0, 1])]
    with pytest.raises(UserError, match=r"the heads: .* epoch \d+ of 5, .*lower --head_learning_rate than 1e\+30"):
        tune_heads(heads, features, labels, epochs=5, learning_rate=1e30)
