"""However classification and the page end, nothing of a patient is left; more moments: tests/faults/test_ends.py."""

import os
import signal
from pathlib import Path

import pytest
from conftest import Trained
from synthetic.classify import end_serving, end_zip, images_in_zip, run, table


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith((".un", "dynammo"))]


def test_sigterm_leaves_nothing_of_a_zip_and_kill_9_nothing_to_the_next(trained: Trained, tmp_path: Path) -> None:
    source, out = images_in_zip(tmp_path, 300), tmp_path / "out"
    out.mkdir()
    assert end_zip(source, out, trained(), signal.SIGTERM, 0.1) == 130
    assert left_in(out) == []
    assert end_zip(source, out, trained(), signal.SIGKILL, 0.1) == -signal.SIGKILL
    assert len(left_in(out)) == 1, "the test would show nothing"
    assert run(source, out, trained(), "--resume") == 0
    assert left_in(out) == [] and len(table(out)) == 300


def test_sigterm_leaves_nothing_of_an_upload(trained: Trained, tmp_path: Path) -> None:
    pytest.importorskip("waitress", reason="waitress is not installed: pip install 'dynammo[serve]'")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    assert end_serving(temporary, trained(), signal.SIGTERM, 0.0) == 0
    assert left_in(temporary) == [], os.listdir(temporary)
