"""The registered model behind `mlflow models serve`, asked over HTTP on this machine."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from deploy.through_mlflow import ask_example, post, served
from synthetic.datasets import TINY

from dynammo.clinic.classify import ClassifySettings, classify
from dynammo.runs.load import load_model

pytestmark = pytest.mark.deploy

SIZE = TINY["image_size"]


@pytest.fixture(scope="module")
def run(trained: Callable[..., Path]) -> Path:
    return trained()


@pytest.fixture(scope="module")
def address(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("served") / "serve.log"
    with served("models:/dynammo/2", log, MLFLOW_TRACKING_URI=f"sqlite:///{run.parent / 'mlruns.db'}") as found:
        yield found


@pytest.mark.parametrize("count", [1, 3])
def test_the_registered_model_answers_as_the_run_does(run: Path, address: str, count: int) -> None:
    images = np.random.default_rng(0).normal(0, 1, (count, 3, SIZE, SIZE)).astype(np.float32)
    status, answer = post(address, {"inputs": images.tolist()})
    with torch.inference_mode():
        expected = load_model(run).network(torch.from_numpy(images))
    assert status == 200
    assert np.asarray(answer["predictions"]) == pytest.approx(expected.numpy(), abs=1e-5)


def test_the_example_answers_as_classify_does(run: Path, address: str, tiny_data: Path, tmp_path: Path) -> None:
    classify(tiny_data / "test" / "red", tmp_path / "classified", ClassifySettings(model=run, device="cpu"))
    rows = json.loads((tmp_path / "classified" / "predictions.json").read_text())["items"]
    assert len(rows) == 3
    for row in rows:
        answer = ask_example(run, tiny_data / "test" / "red" / row["path"], address)
        assert answer["probabilities"] == pytest.approx(row["probabilities"], abs=1e-3)
        assert answer["unknown"] == pytest.approx(row["unknown"], abs=1e-3)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\x89PNG\r\n\x1a\n", "application/json"),
        ({"inputs": "a picture"}, "application/json"),
        ({"inputs": [[[[0.0] * SIZE] * SIZE]]}, "application/json"),  # one channel
        ({"inputs": [[[[0.0] * (SIZE + 1)] * SIZE] * 3]}, "application/json"),
    ],
)
def test_what_is_no_prepared_image_is_refused_and_the_server_lives_on(address: str, content: object, kind: str) -> None:
    status, _ = post(address, content, kind)
    assert 400 <= status < 500
    assert post(address, {"inputs": np.zeros((1, 3, SIZE, SIZE)).tolist()})[0] == 200
