"""Encoders of others for the tests of this folder."""

from pathlib import Path

import pytest
from synthetic.encoders import write_sources

from dynammo.networks import encoder_sources


@pytest.fixture(autouse=True)
def untrusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test leaves trust behind for the next."""
    monkeypatch.setattr(encoder_sources, "_trusted", False)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What is typed, by kind."""
    return write_sources(tmp_path, monkeypatch)
