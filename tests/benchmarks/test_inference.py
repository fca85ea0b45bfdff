"""What is measured is what classification runs, and bars are met from the promised figure on."""

import json
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import inference as measured
from benchmarks.__main__ import app
from benchmarks.inference import (
    InferenceCosts,
    InferenceSettings,
    analytic_network,
    benchmark_inference,
    compare,
    folded_network,
    ratios,
    task_name,
)
from benchmarks.timing import Ceilings, Timing
from dynammo.data.tasks import TaskSequence
from dynammo.errors import UserError
from dynammo.networks.backbones import Backbone
from dynammo.networks.incremental_network import IncrementalNetwork

TINY = InferenceSettings(image_size=32, batch_size=2, stages=1, repeats=2, threads=1, engines=("torch",))


def test_every_figure_is_measured_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, threads = tmp_path / "inference.json", torch.get_num_threads()
    costs = benchmark_inference(TINY, file)
    written, printed = json.loads(file.read_text()), capsys.readouterr().out
    assert set(costs.took) == {
        "eager", "eager backbone", "torch", "torch folded", "torch backbone",
        *(task_name(tasks) for tasks in (1, 10, 50)),
    }  # fmt: skip
    for name, took in costs.took.items():
        assert len(took.wall) == len(took.cores) == 2 and min(took.wall) > 0 and name in printed
        assert written["took"][name]["wall"] == list(took.wall)
    assert [bar["name"] for bar in written["bars"]] == [bar.name for bar in compare(costs)]
    assert {"versions", "machine", "commit", "command", "date", "ceilings", "settings"} <= set(written)
    assert costs.engines() == ["torch"] and costs.start_seconds["torch"] > 0 and torch.get_num_threads() == threads


def test_the_network_is_the_analytic_one_of_the_configs() -> None:
    network = analytic_network(InferenceSettings(stages=2), 3)
    backbone = Backbone(stages=2)
    assert network.pooling.taps == [0, 1, 2] and network.pooling.power == 0.5 and network.background is not None
    assert network.pooling.features == 4 * sum(backbone.channels)  # mean and deviation, of whole and centre
    assert [head.out_features for head in network.heads] == [6] and not network.others


def test_the_folded_network_is_what_foldable_adapters_ship_as() -> None:
    learnt = IncrementalNetwork(stages=2, adapter="low_rank", weights="first_task", image_size=32)
    tasks = TaskSequence([f"class {i}" for i in range(6)], increments=2)
    for task in tasks:
        learnt.start_task(len(task.classes), task.seen)
    learnt.set_branches([learnt.adapter_state()])
    shipped, measured_one = learnt.classifier(), folded_network(InferenceSettings(stages=2), 3)
    measured_one.out_of_distribution = None  # which handlers add to what ships
    assert {name: value.shape for name, value in measured_one.state_dict().items()} == {
        name: value.shape for name, value in shipped.state_dict().items()
    }


def test_an_engine_that_is_not_there_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    arguments = ["--image-size", "32", "--batch-size", "1", "--stages", "1", "--repeats", "1", "--threads", "1"]
    file = tmp_path / "out.json"
    done = CliRunner().invoke(app, ["inference", *arguments, "--engine", "openvino", "--json", str(file)])
    assert done.exit_code == 0, done.output
    assert "openvino left out" in done.output.replace("\n", " ") and "dynammo[openvino]" in file.read_text()


def _costs(engine: float, tasks: float, device: str = "cpu") -> InferenceCosts:
    """One second for eager torch and, by the clock, for everything; `engine` and `tasks` for what is named so."""
    seconds = {"eager": 1.5, "eager backbone": 1.0, "onnx": engine, "onnx folded": engine, "onnx backbone": 0.98}
    seconds |= {task_name(1): 1.0, task_name(10): 1.0, task_name(50): tasks}
    took = {name: Timing((9.0,), (value,)) for name, value in seconds.items()}
    return InferenceCosts(took, {}, {"onnx": 1.0}, device, Ceilings(1.0, 1.0), None, 2)


def test_bars_are_met_from_the_promised_figure_on() -> None:
    assert [bar.met for bar in compare(_costs(1.0, 1.03))] == [True] * 4
    assert [bar.met for bar in compare(_costs(1.01, 1.04))] == [False] * 4


def test_processors_are_compared_by_their_seconds_and_graphics_by_the_clock() -> None:
    assert ratios(_costs(0.5, 1.0), "eager", "onnx").median == pytest.approx(3)
    assert ratios(_costs(0.5, 1.0, "cuda"), "eager", "onnx").median == pytest.approx(1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [({"batch_size": 0}, "--batch-size a whole"), ({"threads": 0}, "--threads a"), ({"engines": ("auto",)}, "torch")],
)
def test_impossible_settings_are_refused(wrong: dict[str, int], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        InferenceSettings(**wrong)  # type: ignore[arg-type]


def test_an_unwritable_file_is_refused_before_measuring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(measured, "measure_inference", lambda settings: pytest.fail("measured in spite of bad input"))
    with pytest.raises(UserError, match="cannot be written"):
        benchmark_inference(TINY, tmp_path / "none" / "x.json")
