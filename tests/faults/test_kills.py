"""Kill -9 wherever a training may be: the same command ends with the same model, the same numbers, the same record."""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from synthetic.processes import PHASES, Moment, Training, mlflow_runs
from synthetic.runs import left_by

from dynammo.runs.mlflow_place import make_database
from dynammo.runs.resume import UNFINISHED

Whole = tuple[Path, list[Moment], float]
KILLS = {
    "loading": 4, "stage 1": 12, "merging": 4, "exemplars": 2, "head tuning": 6, "evaluation": 2, "records": 4,
    "checkpoint writing": 8, "MLflow": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's empty database, which takes longer to make than all the rest of a run."""
    file = tmp_path_factory.mktemp("mlflow") / "mlruns.db"
    make_database(file)
    return file


@pytest.fixture(scope="module")
def whole(tiny_data: Path, database: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A training that nothing interrupts, what it does when, and the seconds that it takes."""
    folder = tmp_path_factory.mktemp("whole")
    training = Training(tiny_data, with_database(folder, database), mlflow=True)
    moments = training.moments()
    assert training.process.exitcode == 0, training.log.read_text()
    assert {moment.phase for moment in moments} == set(PHASES)
    return folder / "run", moments, training.span[1] - training.span[0]


@pytest.fixture
def output(database: Path, tmp_path: Path) -> Path:
    """Output folder of a run to be."""
    return with_database(tmp_path, database)


def with_database(folder: Path, database: Path) -> Path:
    (folder / "run").mkdir()
    shutil.copy(database, folder)
    return folder / "run"


def moments_of(phase: str) -> list[tuple[int, float]]:
    """By which of the phases of that name, as a share of all, and how far in it, the process dies."""
    chosen = random.Random(f"2026 {phase}")
    return [(chosen.randrange(1000), chosen.random()) for _ in range(KILLS[phase])]


@pytest.mark.parametrize(
    ("phase", "which", "share"), [(phase, *moment) for phase in KILLS for moment in moments_of(phase)]
)
def test_killed_once(
    phase: str, which: int, share: float, whole: Whole, tiny_data: Path, output: Path,
    count: Counter[str],
) -> None:  # fmt: skip
    moments = [moment for moment in whole[1] if moment.phase == phase]
    killed = Training(tiny_data, output, mlflow=True)
    killed.kill_at(moments[which * len(moments) // 1000], share)
    if (output / "run.json").exists() and not (output / UNFINISHED).exists():
        pytest.skip("it had ended when it was to be killed: the machine has other work")
    assert killed.process.exitcode == -9, killed.log.read_text()
    count[f"in {phase}"] += 1
    resumed = Training(tiny_data, output, mlflow=True)
    said = resumed.end()
    assert resumed.process.exitcode == 0, said
    assert_equal(output, whole[0])


def test_killed_again_and_again(whole: Whole, tiny_data: Path, output: Path, count: Counter[str]) -> None:
    chosen, alone = random.Random(7), 0.9 * whole[2]
    for _ in range(100):
        training = Training(tiny_data, output, mlflow=True)
        training.kill_at(Moment("loading", 1, alone), chosen.random())
        if training.process.exitcode == 0:
            break
        count["kills of one run"] += 1
    assert training.process.exitcode == 0
    assert_equal(output, whole[0])


def test_killed_while_mlflow_makes_its_database(tiny_data: Path, output: Path, count: Counter[str]) -> None:
    (output.parent / "mlruns.db").unlink()
    for share in (0.1, 0.4, 0.8):
        training = Training(tiny_data, output, mlflow=True)
        training.kill_at(Moment("MLflow", 1, 3.0), share)
        count["kills"] += 1
    last = Training(tiny_data, output, mlflow=True)
    assert "MLflow" not in last.end()
    assert len(mlflow_runs(output)["versions"]) == 3


def assert_equal(output: Path, whole: Path) -> None:
    assert left_by(output) == left_by(whole)
    assert mlflow_runs(output) == mlflow_runs(whole)
    shutil.rmtree(output)
