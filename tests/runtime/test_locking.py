"""One process for each folder."""

from pathlib import Path

import pytest

from dynammo.errors import UserError
from dynammo.runtime.locking import lock_folder


def test_a_folder_is_locked_until_it_is_released(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path)
    with pytest.raises(UserError, match="another training writes to"):
        lock_folder(tmp_path)
    with pytest.raises(UserError, match=r"another classification writes to .* give another --output"):
        lock_folder(tmp_path, "classification", "--output")
    lock.release()
    lock_folder(tmp_path).release()
