"""Fixtures: a tiny data set, trained runs of every method."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when NumPy and SciPy are imported, see set_num_threads below

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from synthetic.datasets import ROOT, TINY, make_data, run_bundle
from synthetic.runs import without_plots

from dynammo.runs import mlflow_place

# two threads that wait for each other slow tiny networks down
torch.set_num_threads(1)
os.environ.pop("MLFLOW_TRACKING_URI", None)
# files are flushed against power cuts, which no test makes; processes that tests kill flush as usual
os.fsync = lambda _: None  # type: ignore[assignment]


@pytest.fixture(scope="session", autouse=True)
def one_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """MLflow's empty database is made once; that takes seconds, and every copy of it is as good."""
    made, template = mlflow_place.make_database, tmp_path_factory.mktemp("mlflow") / "mlruns.db"

    def copied(path: Path) -> None:
        if not template.exists():
            made(template)
        shutil.copyfile(template, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow_place, "make_database", copied)
        yield


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data set of four colours, 6 training and 3 test images each."""
    return make_data(tmp_path_factory.mktemp("colours"))


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The repository root as working directory, where the README's commands are typed."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trainings of this test draw nothing; not for a test that may be the first to call `trained`."""
    without_plots(monkeypatch)


Trained = Callable[..., Path]


@pytest.fixture(scope="session")
def trained(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Output folder of a tiny training by a method; each method is trained once in a session."""
    done: dict[str, Path] = {}

    def train(method: str = "dynammo") -> Path:
        if method not in done:
            output = tmp_path_factory.mktemp(method) / "run"
            before = Path.cwd()
            os.chdir(ROOT)
            try:
                run_bundle(
                    "training",
                    ["bundle/configs/train.yaml", f"configs/methods/{method}.yaml"],
                    dataset_dir=str(tiny_data),
                    output_dir=str(output),
                    **TINY,
                    **({"exemplars": 8} if method in ("dynammo", "acl") else {}),
                    mlflow=method == "dynammo",  # a new database takes seconds
                )
            finally:
                os.chdir(before)
            done[method] = output
        return done[method]

    return train
