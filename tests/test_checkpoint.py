import json
import pickle
from pathlib import Path
from typing import IO, NoReturn

import pytest
import torch

from dynammo.checkpoint import load_state, prepare_output_dir, save_state, sha256, write_atomically, write_json
from dynammo.errors import UserError


def test_state_comes_back(tmp_path: Path) -> None:
    state = {"w": torch.arange(3.0), "nested": [{"paths": ["a b.png"]}, 1.5]}
    save_state(tmp_path / "state.pt", state)
    again = load_state(tmp_path / "state.pt")
    assert torch.equal(again["w"], state["w"]) and again["nested"] == state["nested"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    def full(file: IO[bytes]) -> NoReturn:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    path = tmp_path / "model.pt"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, full)
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"] and path.read_bytes() == b"old"


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return eval, (f"open({str(tmp_path / 'sprung')!r}, 'w')",)

    torch.save({"w": Trap()}, tmp_path / "trap.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.pt", "plain.pt"):
        with pytest.raises(UserError, match="damaged or not a model"):
            load_state(tmp_path / name)
    assert not (tmp_path / "sprung").exists()


def test_json_has_no_nan(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"a": float("nan"), "b": [1.0, float("inf")], "name": "Läsion"})
    assert json.loads((tmp_path / "run.json").read_text()) == {"a": None, "b": [1.0, None], "name": "Läsion"}


def test_digest_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_output_folders_are_made_or_refused(tmp_path: Path) -> None:
    assert prepare_output_dir(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="give --output_dir"):
        prepare_output_dir(tmp_path / "file")
