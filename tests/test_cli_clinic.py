from pathlib import Path

import pytest
import typer
from conftest import Trained

from dynammo.cli_clinic import classify


def test_the_status_says_whether_all_was_read(trained: Trained, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(typer.Exit) as read:
        classify(source=tiny_data / "test", output=tmp_path / "out", model=trained())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(typer.Exit) as unread:
        classify(source=tmp_path / "in", output=tmp_path / "out2", model=trained())
    assert (read.value.exit_code, unread.value.exit_code) == (0, 3)
