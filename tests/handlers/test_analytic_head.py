"""Analytic heads through the bundle, and the network that ships with them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Trained
from PIL import Image
from synthetic.datasets import TINY, make_data, run_bundle

from dynammo.errors import UserError
from dynammo.handlers.analytic_head import AnalyticHeads, make_head
from dynammo.heads.analytic import ClassStatistics, add_classes
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runs.load import load_model
from dynammo.runtime.files import load_state

POOLING = {"taps": [0, 1, 2], "deviation": True, "centre": True, "power": 0.5}
ANALYTIC = ["bundle/configs/train.yaml", "configs/methods/analytic.yaml"]


def shipped(projection: int = 0, head: str = "lda") -> MergedClassifier:
    """A network with an analytic head of five classes on random features."""
    torch.manual_seed(0)
    network = IncrementalNetwork(
        stages=2, weights="first_task", adapter="none", image_size=32, head_layout="analytic",
        pooling={**POOLING, "projection": projection},
    )  # fmt: skip
    network.start_task(5, 5)
    network.set_branches([{}])
    features = torch.randn(60, 1, network.pooling.features)
    statistics = add_classes(ClassStatistics.empty(features.shape[2]), features, torch.arange(60) % 5)
    network.set_analytic_head(*make_head(statistics, head, 0.3, 0.5))
    return network.classifier()


@pytest.mark.parametrize("projection", [0, 40])
@pytest.mark.parametrize("head", ["lda", "ridge"])
def test_what_ships_keeps_its_contract(projection: int, head: str) -> None:
    classifier, images = shipped(projection, head), torch.randn(4, 3, 40, 32)
    outputs = classifier(images)
    assert outputs.shape == (4, 6)
    torch.testing.assert_close(outputs[:, :5].sum(1), torch.ones(4))
    assert ((outputs >= 0) & (outputs <= 1)).all()
    torch.testing.assert_close(torch.jit.script(classifier)(images), outputs, atol=1e-5, rtol=0)


def test_the_temperature_changes_confidence_and_no_choice() -> None:
    features = torch.randn(80, 1, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(80) % 4
    features[:, 0, :4] += 2 * torch.eye(4)[labels]
    statistics = add_classes(ClassStatistics.empty(7), features, labels)
    (sharp, score), (soft, soft_score) = (make_head(statistics, "lda", 0.1, factor) for factor in (1.0, 0.25))
    rows = features[:, 0]
    torch.testing.assert_close(soft(rows), 0.25 * sharp(rows))
    assert score is not None and soft_score is not None
    unknown = score(sharp(rows)).logit()
    torch.testing.assert_close(soft_score(soft(rows)).logit(), 0.25 * unknown, atol=1e-4, rtol=1e-4)


def test_images_unlike_all_classes_score_as_unknown() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 3
    features = 6 * torch.eye(8)[labels] + torch.randn(300, 8, generator=generator)
    statistics = add_classes(ClassStatistics.empty(8), features[:, None], labels)
    head, score = make_head(statistics, "lda", 0.1, 1.0)
    assert score is not None
    known = score(head(features))
    between = score(head(2 * torch.eye(8)[:3].sum(0) + torch.randn(50, 8, generator=generator)))
    assert known.median() < 0.05 and between.median() > 0.5


def test_learning_resumes_from_its_state(trained: Trained) -> None:
    state = load_state(trained("analytic") / "checkpoint.pt")["handlers"]["AnalyticHeads"]
    handler = AnalyticHeads(lambda item: item)
    handler.load_state_dict(state)
    assert handler.statistics is not None and handler.statistics.counts.tolist() == [6.0] * 4
    assert all(torch.equal(handler.state_dict()["statistics"][k], state["statistics"][k]) for k in ("sums", "gram"))


@pytest.mark.usefixtures("in_root")
def test_the_shipped_head_is_that_of_all_classes_at_once(trained: Trained, tmp_path: Path, tiny_data: Path) -> None:
    """Learnt in two tasks or in one, the statistics are the same (the backbone is the first task's in both)."""
    run = trained("analytic")
    weights = {k.removeprefix("backbone."): v for k, v in load_state(run / "model.pt").items()}
    names = {"stem.0.": "conv1.", "stem.1.": "bn1.", "layers.0.": "layer1.", "layers.1.": "layer2."}
    renamed = {}
    for key, value in weights.items():
        for ours, theirs in names.items():
            if key.startswith(ours):
                renamed[theirs + key.removeprefix(ours)] = value
    torch.save(renamed, tmp_path / "backbone.pth")
    states = []
    for increments in ([2, 2], [4]):
        output = tmp_path / str(len(increments))
        run_bundle(
            "training", ANALYTIC, dataset_dir=str(tiny_data), output_dir=str(output), increments=increments,
            shrinkage=0.3, mlflow=False, **{**TINY, "weights": str(tmp_path / "backbone.pth"), "epochs": 0},
        )  # fmt: skip
        states.append(load_state(output / "checkpoint.pt")["handlers"]["AnalyticHeads"]["statistics"])
        assert (
            load_model(output).record["cost"]["gmac_per_image"] / load_model(output).record["cost"]["gmac_backbone"]
            < 1.001
        )
    for key in ("counts", "sums", "gram"):
        torch.testing.assert_close(states[0][key], states[1][key], atol=1e-8, rtol=1e-8)


def traces(image: Path) -> list[bytes]:
    """What would give an image away in a file: its encoded bytes, a row of its pixels in any likely number format."""
    pixels = np.asarray(Image.open(image).convert("RGB"))
    encoded = image.read_bytes()
    middle = pixels[len(pixels) // 2].astype(np.float32)
    unit = middle / 255
    normalised = (unit - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    rows = [pixels[len(pixels) // 2].tobytes(), pixels[len(pixels) // 2, :, 0].tobytes()]
    for values in (middle, unit, normalised):
        rows += [np.ascontiguousarray(values[:8, c]).astype(kind).tobytes() for c in range(3) for kind in ("f4", "f8")]
    return [encoded[len(encoded) // 2 :][:48], *rows]


def files_with_pixels(folder: Path, images: list[Path]) -> set[str]:
    wanted = [trace for image in images for trace in traces(image)]
    found = set()
    for file in folder.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            if any(trace in content for trace in wanted):
                found.add(file.name)
    return found


@pytest.fixture
def with_mlflow(tmp_path: Path, in_root: Path) -> tuple[Path, Path]:
    """Data, and the output folder of an analytic training on it with every record turned on."""
    data = make_data(tmp_path / "data", 4, 2)
    run_bundle("training", ANALYTIC, dataset_dir=str(data), output_dir=str(tmp_path / "run"), **TINY)
    return data, tmp_path / "run"


def test_no_pixel_of_a_patient_is_written(with_mlflow: tuple[Path, Path]) -> None:
    data, run = with_mlflow
    images = sorted((data / "train").rglob("*.png"))
    assert load_model(run).record["cost"]["images_kept"] == 0
    assert load_state(run / "checkpoint.pt")["memory"] == {}
    assert files_with_pixels(run, images) == set()
    assert not [file for file in run.rglob("*") if file.is_file() and images[0].name.encode() in file.read_bytes()]
    # the search does find pixels where there are some
    array = torch.from_numpy(np.asarray(Image.open(images[3]), dtype=np.float32) / 255).movedim(-1, 0).contiguous()
    torch.save({"exemplars": array}, run / "leak.pt")
    (run / "copy.bin").write_bytes(images[5].read_bytes())
    assert files_with_pixels(run, images) == {"leak.pt", "copy.bin"}


@pytest.mark.usefixtures("in_root")
@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"analytic_head": "svm"}, "analytic_head is 'svm'; expected one of lda, ridge"),
        ({"mirrored": "up"}, "mirrored is 'up'; expected one of none, horizontal, both"),
        ({"shrinkage": 2}, "shrinkage is 2; expected auto or a number between 0 and 1"),
        ({"taps": [0, 3]}, "taps is \\[0, 3\\]; expected layers from 0"),
        ({"power": 0}, "power is 0; expected a number above 0"),
        ({"merge_strategy": "none"}, "analytic heads read one branch"),
        ({"epochs": 0}, "weights is first_task, but epochs is 0"),
    ],
)
def test_mistakes_are_explained(tiny_data: Path, tmp_path: Path, overrides: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Exception) as caught:
        settings = {**TINY, "mlflow": False, "method": "mine", "increments": [2, 2], **overrides}
        if "merge_strategy" in overrides:
            settings["adapter"] = "conv"
        run_bundle("training", ANALYTIC, dataset_dir=str(tiny_data), output_dir=str(tmp_path), **settings)
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    assert error is not None and re.search(sentence, str(error))


def test_a_trained_run_loads_and_scripts(trained: Trained) -> None:
    classifier, images = load_model(trained("analytic")).network, torch.randn(2, 3, 32, 32)
    assert classifier.background is not None
    torch.testing.assert_close(torch.jit.script(classifier)(images), classifier(images), atol=1e-5, rtol=0)


def test_a_first_task_may_be_of_one_class(tiny_data: Path, tmp_path: Path) -> None:
    run_bundle(
        "training", ANALYTIC, dataset_dir=str(tiny_data), output_dir=str(tmp_path), mlflow=False,
        increments=[1, 3], **TINY,
    )  # fmt: skip
    assert load_model(tmp_path).record["network"]["heads"] == [4]
