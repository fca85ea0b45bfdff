import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Trained = Callable[..., Path]


@pytest.fixture
def run(trained: Trained, tmp_path: Path) -> Path:
    """A copy of a trained run, to be tampered with."""
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    for name in ("run.json", "model.pt"):
        shutil.copy(trained() / name, folder)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DYNAMMO_MODELS", raising=False)
    return tmp_path
