"""Two processes train as one: the same numbers, one record, one voice."""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic.datasets import ROOT, TINY, make_data, run_bundle
from synthetic.runs import without_plots

from dynammo.runtime import distributed as ranks
from dynammo.runtime.files import load_state

CONFIGS = ["bundle/configs/train.yaml", "configs/methods/{method}.yaml", "{plain}"]
SETTINGS: dict[str, Any] = {**TINY, "stages": 1, "image_size": 16, "epochs": 2, "head_epochs": 2, "exemplars": 8}
RUNS: dict[str, dict[str, Any]] = {
    "dynammo": {},
    "interrupted": {"merge_strategy": "fisher", "mlflow": False},
    "resumed": {"merge_strategy": "fisher", "mlflow": False},
    "analytic": {"exemplars": 0, "head_epochs": 0, "mlflow": False},
    "augmented": {"mlflow": False},  # as train.yaml does, each process draws for its own images
}
FOLDERS = {"resumed": "interrupted"}
Trained = dict[str, Path]


@contextmanager
def one_of(count: int, number: int) -> Iterator[None]:
    """As if this process were the `number`-th of `count`, for what asks no other."""
    with (
        patch.object(ranks.idist, "get_world_size", lambda: count),
        patch.object(ranks.idist, "get_rank", lambda: number),
    ):
        yield


def configs(name: str, plain: Path) -> list[str]:
    method = "analytic" if name == "analytic" else "dynammo"
    files = CONFIGS[:-1] if name == "augmented" else CONFIGS
    return [file.format(method=method, plain=plain) for file in files]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine images in the first task: with batches of eight, one process has no image of the second batch."""
    folder = make_data(tmp_path_factory.mktemp("images"), train=5)
    (folder / "train" / "blue" / "blue_4.png").unlink()
    (folder / "plain.yaml").write_text("augmentation: {_target_: Compose, transforms: []}\n")
    return folder


@pytest.fixture(scope="module")
def by_two(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Trained, str, int]:
    """What two processes have left in folders, what they said, and how they ended: with a mistake, the last one."""
    output = tmp_path_factory.mktemp("two")
    typed = {}
    for name, changes in [*RUNS.items(), ("mistake", {"batch_size": 1})]:
        files = [*configs(name, data / "plain.yaml"), "configs/multi_gpu.yaml"]
        settings = {"dataset_dir": data, "output_dir": output / FOLDERS.get(name, name), **SETTINGS, **changes}
        typed[name] = ["--config_file", str(files), *(f"--{key}={value}" for key, value in settings.items())]
    (output / "typed.json").write_text(json.dumps(typed))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ended = subprocess.run(
        [*command, "tests/synthetic/train_in_ranks.py", str(output / "typed.json")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    return {name: output / FOLDERS.get(name, name) for name in RUNS}, ended.stdout + ended.stderr, ended.returncode


@pytest.fixture(scope="module")
def by_one(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The same trainings by one process, without interruption."""
    output = tmp_path_factory.mktemp("one")
    with pytest.MonkeyPatch.context() as changed:
        changed.chdir(ROOT)
        without_plots(changed)
        changed.setattr("dynammo.runs.mlflow.result_figures", lambda *_: {})
        for name in ("dynammo", "resumed", "analytic"):
            changes = {**SETTINGS, **RUNS[name], "output_dir": str(output / name)}
            run_bundle("training", configs(name, data / "plain.yaml"), dataset_dir=str(data), **changes)
    return {name: output / name for name in ("dynammo", "resumed", "analytic")}


def state_of(run: Path) -> dict[str, Any]:
    state: dict[str, Any] = load_state(run / "checkpoint.pt")
    return state


@pytest.mark.spread
@pytest.mark.parametrize("name", ["dynammo", "resumed", "analytic"])
def test_the_numbers_are_those_of_one_process(name: str, by_one: Trained, by_two: tuple[Trained, str, int]) -> None:
    assert name in by_two[0] and (by_two[0][name] / "run.json").is_file(), by_two[1]
    one, two = (load_state(trained[name] / "model.pt") for trained in (by_one, by_two[0]))
    for key, value in one.items():
        torch.testing.assert_close(two[key], value, rtol=1e-3, atol=1e-3 * float(value.abs().max()), msg=key)
    first, second = (json.loads((trained[name] / "run.json").read_text()) for trained in (by_one, by_two[0]))
    assert [r["confusion"] for r in second["results"]] == [r["confusion"] for r in first["results"]]
    assert second["trust"]["out_of_distribution_threshold"] == pytest.approx(
        first["trust"]["out_of_distribution_threshold"], rel=1e-4
    )


@pytest.mark.spread
def test_augmented_images_are_learnt_too(by_two: tuple[Trained, str, int]) -> None:
    run = by_two[0]["augmented"] / "run.json"
    assert run.is_file(), by_two[1]
    results = json.loads(run.read_text())["results"]
    assert [len(result["confusion"]) for result in results] == [2, 4]


@pytest.mark.spread
@pytest.mark.parametrize("name", ["dynammo", "resumed"])
def test_the_fit_takes_every_image_once(name: str, by_one: Trained, by_two: tuple[Trained, str, int]) -> None:
    one, two = state_of(by_one[name]), state_of(by_two[0][name])
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-4)
    assert two["memory"] == one["memory"]


@pytest.mark.spread
def test_class_statistics_are_those_of_one_process(by_one: Trained, by_two: tuple[Trained, str, int]) -> None:
    one, two = (state_of(trained["analytic"])["handlers"] for trained in (by_one, by_two[0]))
    for handler in ("AnalyticHeads", "FitOutOfDistribution"):
        for name in ("counts", "sums", "gram"):  # of features in float32, which depend on the batch they came in
            expected = one[handler]["statistics"][name]
            atol = 1e-5 * float(expected.abs().max())
            torch.testing.assert_close(two[handler]["statistics"][name], expected, rtol=0, atol=atol)
    torch.testing.assert_close(two["FitOutOfDistribution"]["labels"], one["FitOutOfDistribution"]["labels"])


@pytest.mark.spread
def test_one_record_of_every_run(by_one: Trained, by_two: tuple[Trained, str, int]) -> None:
    for name, folder in by_one.items():
        theirs = by_two[0][name]
        assert sorted(p.name for p in theirs.iterdir()) == sorted(p.name for p in folder.iterdir())
        assert sorted(p.name for p in (theirs / "tasks").iterdir()) == ["1.pt", "2.pt", "history.json"]
        assert len(json.loads((theirs / "tasks" / "history.json").read_text())) == 2
    for trained in (by_one, by_two[0]):
        with closing(sqlite3.connect(trained["dynammo"].parent / "mlruns.db")) as database:
            states = database.execute("select status from runs").fetchall()
            versions = database.execute("select count(*) from model_versions").fetchone()
        assert (states, versions) == ([("FINISHED",)] * 3, (2,))


@pytest.mark.spread
def test_one_voice(by_two: tuple[Trained, str, int]) -> None:
    said, trainings = by_two[1], len(RUNS) - len(FOLDERS)  # one is interrupted in task 2
    assert said.count("task 1/2  ") == trainings and said.count("task 2/2  ") == trainings
    assert said.count("interrupted in task 2 of 2") == 1
    assert said.count("resuming the unfinished run") == 1


@pytest.mark.spread
def test_a_mistake_is_told_once_and_ends_all(by_two: tuple[Trained, str, int]) -> None:
    trained, said, status = by_two
    assert status != 0
    assert said.count("error: batch_size is 1, less than one image for each of 2 processes") == 1, said
    mistake = said[said.index("error: batch_size") :]
    assert "dynammo/training/data_parallel.py" not in said and "[rank" not in mistake, "no traceback of ours"
    assert not (trained["dynammo"].parent / "mistake").exists()


@settings(deadline=None, max_examples=50)
@given(length=st.integers(0, 50), count=st.integers(1, 9))
def test_parts_are_the_whole(length: int, count: int) -> None:
    parts = []
    for number in range(count):
        with one_of(count, number):
            parts.append(list(ranks.shard(length)))
    assert [i for part in parts for i in part] == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


ALONE: list[Callable[[Any], Any]] = [ranks.all_reduce_sum, ranks.all_gather_rows, ranks.broadcast]


@pytest.mark.parametrize("function", ALONE)
def test_a_single_process_gets_back_what_it_gave(function: Callable[[Any], Any]) -> None:
    rows = torch.ones(3, 2)
    assert function(rows) is rows
    assert ranks.all_gather_object(rows)[0] is rows and ranks.is_first() and ranks.shard_mask(3).all()


def test_the_overlay_starts_as_train_yaml_does() -> None:
    """`initialize` cannot be changed in part, so the overlay repeats it: nothing may be left out."""
    one, several = (
        yaml.safe_load((ROOT / name).read_text())["initialize"]
        for name in ("bundle/configs/train.yaml", "configs/multi_gpu.yaml")
    )
    mine = {step.replace("is_first() and ", "") for step in several}
    assert set(one) <= mine and len(mine) == len(one) + 2
