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


def test_the_temperature_of_held_out_images_is_found() -> None:
    """Heads that are twice as sure as they may be."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 3, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    unknown = torch.linspace(0, 1, 4000)
    engine = SimpleNamespace(
        held_out=((2 * logits).softmax(1), unknown, labels), network=SimpleNamespace(head_layout="others"),
        task=SimpleNamespace(index=0), trust={}, add_event_handler=lambda event, function: functions.append(function),
    )  # fmt: skip
    functions: list[Callable[[Any], None]] = []
    calibrate = Calibrate(lambda item: item, false_alarm_rate=0.1)
    calibrate.attach(engine)  # type: ignore[arg-type]
    functions[0](engine)
    assert engine.trust["temperature"] == pytest.approx(2, rel=0.1) and engine.network.temperature > 1
    assert engine.trust["ece_after"] < engine.trust["ece_before"]
    assert engine.trust["unknown_threshold"] == pytest.approx(0.9, abs=0.01)
    assert calibrate.state_dict() == {"found": [[engine.trust["unknown_threshold"], 4000]]}
