import contextlib
import itertools
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, NoReturn

import pytest
import torch
from monai.data import MetaTensor

from dynammo.errors import UserError
from dynammo.runtime.files import (
    fingerprint,
    load_checkpoint,
    load_state,
    prepare_output_dir,
    save_checkpoint,
    save_state,
    sha256,
    write_atomically,
    write_json,
)


def test_a_fingerprint_is_of_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, other = tmp_path / "image", tmp_path / "copy"
    file.write_bytes(b"content")
    other.write_bytes(b"content")
    os.utime(other, (1, 1))
    assert fingerprint(file) == fingerprint(other) == sha256(file)
    monkeypatch.setattr("dynammo.runtime.files.BLOCK", 1)
    file.write_bytes(bytes(1000))  # more than 64 blocks of one byte
    whole = fingerprint(file)
    for place, seen in ((0, True), (999, True), (1, False), (999 * 31 // 63, True)):
        changed = bytearray(1000)
        changed[place] = 1
        other.write_bytes(changed)
        assert (fingerprint(other) != whole) is seen
    other.write_bytes(bytes(1001))
    assert fingerprint(other) != whole


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


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_checkpoint_outlives_deaths_at_any_steps(
    before: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps are renames. What is whole after two processes died is an earlier state or the new one, never none."""
    found = set()
    for deaths in itertools.product(range(1, 8), repeat=2):
        folder = tmp_path / str(deaths)
        folder.mkdir()
        for number in range(before):
            save_checkpoint(folder, "checkpoint", number)
        least = before - 1
        for dies_at in deaths:
            with monkeypatch.context() as patch:
                patch.setattr("dynammo.runtime.files.os.replace", dying(os.replace, dies_at))
                with contextlib.suppress(KeyboardInterrupt):
                    save_checkpoint(folder, "checkpoint", 9)
            state = load_checkpoint(folder, "checkpoint")
            assert (-1 if state is None else state) >= least  # nothing that was whole is lost
            least = -1 if state is None else state
            found.add(state)
        save_checkpoint(folder, "checkpoint", 10)
        assert load_checkpoint(folder, "checkpoint") == 10
    assert found == {9, before - 1 if before else None}


def dying(rename: Callable[[Path, Path], None], dies_at: int) -> Callable[[Path, Path], None]:
    """`rename`, in a process that dies behind the rename of this number."""
    calls = itertools.count(1)

    def run(source: Path, target: Path) -> None:
        rename(source, target)
        if next(calls) == dies_at:
            raise KeyboardInterrupt

    return run


def test_a_checkpoint_says_its_digest_as_sha256sum_does(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, "checkpoint") is None
    save_checkpoint(tmp_path, "checkpoint", {"a": 1})
    assert (tmp_path / "checkpoint.pt.sha256").read_text() == f"{sha256(tmp_path / 'checkpoint.pt')}  checkpoint.pt\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint.pt", "checkpoint.pt.sha256"]


def test_tensors_of_monai_lose_what_they_know_of_files(tmp_path: Path) -> None:
    image = MetaTensor(torch.ones(2), meta={"filename_or_obj": "Erika_Mustermann.dcm"})
    save_state(tmp_path / "state.pt", {"a": [image], "b": (image,)})
    assert type(load_state(tmp_path / "state.pt")["a"][0]) is torch.Tensor
    assert b"Mustermann" not in (tmp_path / "state.pt").read_bytes()
