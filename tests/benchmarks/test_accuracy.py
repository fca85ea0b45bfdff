import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Trained
from synthetic.datasets import ROOT

from benchmarks import accuracy as benchmark
from benchmarks.__main__ import main
from benchmarks.accuracy import AccuracyRun, measures, plan, summary
from dynammo.errors import UserError

SETTINGS: dict[str, Any] = {
    "methods": {"light": None, "analytic": {}}, "seeds": [0, 1],
    "datasets": {"phantoms": None, "derm8": {"increments": 2}}, "settings": {"mlflow": False},
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "repository").mkdir()
    for name in ("configs", "bundle"):
        (tmp_path / "repository" / name).symlink_to(ROOT / name)
    folder = tmp_path / "repository" / "own"
    folder.mkdir()
    for name in ("methods", "datasets"):
        (folder / name).symlink_to(ROOT / "configs" / name)
    file = folder / "benchmark.yaml"
    file.write_text(yaml.safe_dump({**SETTINGS, "output_dir": str(tmp_path / "out")}, sort_keys=False))
    return file


def finish(run: AccuracyRun, record: dict[str, Any], seed_bonus: float = 0.0) -> None:
    run.folder.mkdir(parents=True, exist_ok=True)
    metrics = {**record["metrics"], "last_accuracy": 0.5 + seed_bonus}
    (run.folder / "run.json").write_text(json.dumps({**record, "metrics": metrics}))


@pytest.fixture
def record(trained: Trained) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((trained("analytic") / "run.json").read_text())
    return found


def test_every_method_meets_every_data_set_and_seed(config: Path) -> None:
    runs = plan(config)
    assert len({run.folder for run in runs}) == 8
    assert {(run.dataset, run.method, run.seed) for run in runs} == {
        (d, m, s) for d in ("phantoms", "derm8") for m in ("light", "analytic") for s in (0, 1)
    }
    words = runs[-1].command
    assert words[words.index("--increments") + 1] == "2" and words[words.index("--seed") + 1] == "1"
    assert "derm8.yaml" in words[words.index("--config_file") + 1]


def test_a_method_has_settings_of_its_own_and_adapters_of_another(config: Path, tmp_path: Path) -> None:
    methods = {"acl": None, "merged": {"overlay": "dynammo", "adapters_from": "acl", "increments": 4}}
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "methods": methods}, sort_keys=False))
    runs = plan(config)
    merged = next(run for run in runs if (run.dataset, run.method, run.seed) == ("derm8", "merged", 1))
    expected = {"method": "merged", "increments": 4, "adapters_from": tmp_path / "out" / "derm8" / "acl_1"}
    assert expected.items() <= dict(merged.overrides).items() and "overlay" not in merged.overrides
    assert any(name.endswith("methods/dynammo.yaml") for name in merged.configs)
    assert runs.index(merged) > next(i for i, run in enumerate(runs) if run.folder == expected["adapters_from"])


def test_the_shipped_benchmark_names_what_exists() -> None:
    assert len(plan(ROOT / "configs" / "benchmark.yaml")) == 8 * 4 * 3


def test_what_is_finished_is_not_run_again(
    config: Path, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[AccuracyRun] = []

    def train(run: AccuracyRun) -> bool:
        started.append(run)
        finish(run, record)
        return True

    monkeypatch.setattr(benchmark, "train", train)
    runs = plan(config)
    for run in runs[:3]:
        finish(run, record)
    runs[3].folder.mkdir(parents=True)
    half = {**record, "tasks_learnt": 1}
    (runs[3].folder / "run.json").write_text(json.dumps(half))
    benchmark.benchmark_accuracy(config)
    assert started == runs[3:]
    benchmark.benchmark_accuracy(config)
    assert len(started) == 5
    table = (config.parent.parent.parent / "out" / "table.md").read_text()
    assert table.count("\n") == 2 + 4 and "unknown AUROC" in table
    assert "finished before" in capsys.readouterr().err


def test_a_failed_training_is_named_and_the_others_go_on(
    config: Path, record: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        folder = Path(command[command.index("--output_dir") + 1])
        if folder.name == "light_0":
            return subprocess.CompletedProcess(command, 1)
        (folder / "run.json").write_text(json.dumps(record))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(UserError, match=r"2 of 8 trainings failed \(.*phantoms/light_0/log.txt"):
        benchmark.benchmark_accuracy(config)
    assert sum(run.result is not None for run in plan(config)) == 6


def test_mean_and_spread_over_seeds(config: Path, record: dict[str, Any]) -> None:
    runs = plan(config)[:3]  # light and analytic of seed 0, light of seed 1
    for run, bonus in zip(runs, (0.0, 0.3, 0.2), strict=True):
        finish(run, record, bonus)
    found = summary(plan(config))["phantoms"]
    assert found["light"]["seeds"] == [0, 1] and found["analytic"]["seeds"] == [0]
    assert found["light"]["last"]["mean"] == pytest.approx(60)
    assert found["light"]["last"]["deviation"] == pytest.approx(math.sqrt(200))
    assert math.isnan(found["analytic"]["last"]["deviation"])


def test_a_measure_that_a_method_does_not_have_has_no_spread(config: Path, record: dict[str, Any]) -> None:
    joint = {**record, "metrics": {**record["metrics"], "forgetting": None}}
    for run in plan(config):
        finish(run, joint)
    benchmark.benchmark_accuracy(config)
    table = json.loads((config.parent.parent.parent / "out" / "table.json").read_text())
    assert table["phantoms"]["light"]["forgetting"] == {"mean": None, "deviation": None}
    assert table["phantoms"]["light"]["last"]["deviation"] == 0


def test_measures_of_a_training(record: dict[str, Any]) -> None:
    found = measures(record)
    assert set(found) == set(benchmark.COLUMNS)
    assert found["unknown_auroc"] == pytest.approx(100 * record["results"][0]["unknown_auroc"])
    assert found["images_kept"] == 0 and found["gmac_ratio"] == pytest.approx(1, abs=0.005)
    assert found["recall_last"] == pytest.approx(100 * record["results"][-1]["mean_class_recall"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"methods": {"magic": {}}}, "names 'magic' under methods, .* give one of acl, analytic"),
        ({"methods": {"light": {"adapters_from": "acl"}}}, "takes its adapters from 'acl', which is no method listed"),
        ({"methods": ["light"]}, r"methods in .* is \['light'\]"),
        ({"seeds": []}, r"seeds in .* is \[\]"),
        ({"method": ["acl"]}, "must have exactly the keys"),
    ],
)
def test_mistakes_are_explained(config: Path, change: dict[str, Any], sentence: str) -> None:
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **change}, sort_keys=False))
    with pytest.raises(UserError, match=sentence):
        plan(config)


def test_the_command_says_which_file_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["accuracy", "--config", "nowhere.yaml"])
    assert caught.value.code == 1 and "there is no file nowhere.yaml" in capsys.readouterr().err
