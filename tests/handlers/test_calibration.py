import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import Trained

from dynammo.handlers.calibration import Calibrate, mean_threshold
from dynammo.runs.load import load_model

pytestmark = pytest.mark.usefixtures("in_root")


@pytest.mark.parametrize("method", ["dynammo", "acl", "analytic", "finetune"])
def test_every_run_states_its_thresholds(trained: Trained, method: str) -> None:
    trust = json.loads((trained(method) / "run.json").read_text())["trust"]
    assert 0 <= trust["unknown_threshold"] <= 1 and trust["false_alarm_rate"] == 0.05
    assert trust["out_of_distribution_threshold"] > 0 and trust["out_of_distribution_false_alarm_rate"] == 0.01
    assert trust["held_out_images"] > 0 and ("ece_before" in trust) == (method != "analytic")
    assert float(load_model(trained(method)).network.temperature) == pytest.approx(trust["temperature"], rel=1e-5)


def test_thresholds_weigh_as_the_images_behind_them() -> None:
    assert mean_threshold([(0.2, 10), (0.6, 30)]) == pytest.approx(0.5)
    assert mean_threshold([(0.0, 0), (0.3, 7)]) == pytest.approx(0.3)
    assert mean_threshold([(0.0, 0), (0.0, 0)]) is None


def test_the_temperature_of_held_out_images_is_found() -> None:
    """Heads that are twice as sure as they may be."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 3, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    unknown = torch.linspace(0, 1, 4000)
    calibrate, engine = calibrated("others", ((2 * logits).softmax(1), unknown, labels))
    assert engine.trust["temperature"] == pytest.approx(2, rel=0.1) and engine.network.temperature > 1
    assert engine.trust["ece_after"] < engine.trust["ece_before"]
    assert engine.trust["unknown_threshold"] == pytest.approx(0.9, abs=0.01)
    assert calibrate.state_dict() == {"found": [[engine.trust["unknown_threshold"], 4000]]}


def calibrated(layout: str, held_out: tuple[torch.Tensor, ...]) -> tuple[Calibrate, Any]:
    """The handler after a first task with these held-out images, and the engine."""
    engine: Any = SimpleNamespace(
        held_out=held_out, network=SimpleNamespace(head_layout=layout, temperature=3.0),
        task=SimpleNamespace(index=0), trust={}, add_event_handler=lambda event, function: functions.append(function),
    )  # fmt: skip
    functions: list[Callable[[Any], None]] = []
    calibrate = Calibrate(lambda item: item, false_alarm_rate=0.1)
    calibrate.attach(engine)
    functions[0](engine)
    return calibrate, engine


@pytest.mark.parametrize(("labels", "judged"), [([0, 1, 2, 3], 0), ([0, 0, 1, 2], 2)])
def test_single_images_of_a_class_are_not_judged(labels: list[int], judged: int) -> None:
    """While one of them is left out, the heads know nothing of its class."""
    held_out = torch.full((4, 4), 0.25), torch.tensor([0.1, 0.2, 0.9, 0.9]), torch.tensor(labels)
    calibrate, engine = calibrated("others", held_out)
    limit = engine.trust["unknown_threshold"]
    assert limit == pytest.approx(0.2) if judged else limit is None
    assert engine.trust["held_out_images"] == judged == calibrate.found[0][1]
    if not judged:
        assert engine.network.temperature == engine.trust["temperature"] == 1 and engine.trust["ece_after"] is None
