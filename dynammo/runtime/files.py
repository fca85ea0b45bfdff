"""Files that are whole or not there: atomic writes of run state, model and records."""

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from dynammo.errors import UserError
from dynammo.runtime.aliases import current_names
from dynammo.runtime.plain import expanded, plain, say
from dynammo.runtime.unfinished import unfinished_file

if TYPE_CHECKING:
    import torch  # takes seconds: only what loads or saves tensors imports it

__all__ = [
    "content_of",
    "fingerprint",
    "load_checkpoint",
    "load_state",
    "prepare_output_dir",
    "save_checkpoint",
    "save_state",
    "sha256",
    "state_bytes",
    "write_atomically",
    "write_json",
]

BLOCK, SPREAD = 2**20, 64


def prepare_output_dir(output_dir: str | Path) -> Path:
    """Make `output_dir` and prove that it can be written, before hours of training go into it.

    Raises:
        UserError: it is a file, or cannot be made or written.
    """
    folder = expanded(output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"the output folder {folder} cannot be written ({error.strerror}); give --output_dir a folder of yours."
        ) from error
    return folder


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Write a file under a temporary name, flush it to disk, then rename it, so that no reader sees half of it.

    Who may read it is decided by the umask.
    """
    with unfinished_file(path) as (_, file):
        write(file)
        file.flush()
        os.fsync(file.fileno())
    _flush_folder(path.parent)


def save_state(path: Path, state: Any) -> None:  # noqa: ANN401
    """Save tensors, numbers, strings, lists and dicts, atomically; of MONAI's tensors the numbers alone."""
    plain = _without_subclasses(state)
    write_atomically(path, lambda file: _save(plain, file))


def state_bytes(state: Any) -> bytes:  # noqa: ANN401
    """What `save_state` would write."""
    import torch

    content = io.BytesIO()
    torch.save(_without_subclasses(state), content)
    return content.getvalue()


def load_state(path: Path, device: "str | torch.device" = "cpu") -> Any:  # noqa: ANN401
    """Load what `save_state` of this version or an earlier one wrote; nothing but tensors and plain values.

    Raises:
        UserError: no such file, or not such a file.
    """
    import torch

    try:
        return current_names(torch.load(path, map_location=device, weights_only=True))
    except FileNotFoundError as error:
        raise UserError(f"there is no model file {path}; give the model.pt of a finished run.") from error
    except Exception as error:  # torch raises a dozen kinds for a damaged file; all mean the same to the user
        raise UserError(f"the file {path} is damaged or not a model ({type(error).__name__}).") from error


def save_checkpoint(folder: Path, name: str, state: Any) -> None:  # noqa: ANN401
    """Save a state as NAME.pt with its SHA-256 beside it; the one before stays as NAME.previous.pt.

    A process may die, or a disk fill up, between any two of the steps: `load_checkpoint` then still finds one of the
    two whole.

    Args:
        folder: where the files lie.
        name: of the files, without ending.
        state: what `save_state` takes.
    """
    newest, previous, coming = (folder / f"{name}{end}.pt" for end in ("", ".previous", ".coming"))
    try:
        save_state(coming, state)
        digest = f"{sha256(coming)}  {newest.name}\n".encode()
        if _digest_of(newest) or _digest_of(previous):
            _make_room(newest, previous)
            write_atomically(_digest_file(newest), lambda file: file.write(digest))
            os.replace(coming, newest)
            _flush_folder(folder)
        else:  # the first one does not count before its digest is there: a digest alone would mean a loss
            os.replace(coming, newest)
            write_atomically(_digest_file(newest), lambda file: file.write(digest))
    finally:
        coming.unlink(missing_ok=True)


def load_checkpoint(folder: Path, name: str) -> Any:  # noqa: ANN401
    """Load the newest of the two files of `save_checkpoint` that is whole; None where there is none of its digests.

    Raises:
        UserError: there are files, and none of them is whole.
    """
    files = [folder / f"{name}{end}.pt" for end in ("", ".previous")]
    known = {digest for file in files if (digest := _digest_of(file))}
    if not known:
        return None
    for file in files:
        state = _load_verified(file, known)
        if state is not None:
            return state
    raise UserError(
        f"{files[0]} and {files[1].name} are damaged or gone, so the run cannot resume; put a copy of them back, or "
        "type --fresh True to start anew (what is there is kept in earlier/)."
    )


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write JSON atomically; NaN, which JSON does not know, becomes null."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def content_of(paths: Iterable[Path]) -> str:
    """One SHA-256 for what several files hold, in their order.

    Raises:
        OSError: one of them cannot be read.
    """
    return hashlib.sha256("".join(map(sha256, paths)).encode()).hexdigest()


def fingerprint(path: Path) -> str:
    """SHA-256 of what a file holds; of one beyond 64 MiB (slides), of its size and 64 blocks spread all over it."""
    size = path.stat().st_size
    if size <= SPREAD * BLOCK:
        return sha256(path)
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for number in range(SPREAD):
            file.seek((size - BLOCK) * number // (SPREAD - 1))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def _make_room(newest: Path, previous: Path) -> None:
    """Make the newest file the previous one, its digest first: a digest without its file is of one that never came."""
    if newest.is_file():
        if _digest_of(newest):
            os.replace(_digest_file(newest), _digest_file(previous))
        os.replace(newest, previous)


def _digest_file(file: Path) -> Path:
    return file.with_name(f"{file.name}.sha256")


def _digest_of(file: Path) -> str:
    """What is written beside a file, in the format of `sha256sum -c`; empty where nothing can be read."""
    try:
        return _digest_file(file).read_text(encoding="ascii").split(" ")[0]
    except (OSError, ValueError):
        return ""


def _load_verified(file: Path, known: set[str]) -> Any:  # noqa: ANN401
    """The state in a file with one of these digests, or None, said aloud where there is such a file.

    One of them, since a crash may lie between the renaming of a file and that of its digest.
    """
    if not file.is_file():
        return None
    try:
        if sha256(file) in known:
            return load_state(file)
    except (OSError, UserError):
        pass
    say(f"{file} is damaged; looking for the one before it.")
    return None


def _flush_folder(folder: Path) -> None:
    """Make a rename outlive a power cut; systems without folders that can be opened do so by themselves."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _save(state: Any, file: IO[bytes]) -> None:  # noqa: ANN401
    import torch

    try:
        torch.save(state, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):  # what the disk said is hidden by the end of torch's writer
            raise error.__context__ from None
        raise


def _without_subclasses(value: Any) -> Any:  # noqa: ANN401
    """The same with plain tensors: subclasses carry paths of images, and are not loaded by `weights_only`."""
    import torch

    if isinstance(value, torch.Tensor):
        return value.as_subclass(torch.Tensor)
    if isinstance(value, dict):
        return {key: _without_subclasses(item) for key, item in value.items()}
    return type(value)(_without_subclasses(item) for item in value) if type(value) in (list, tuple) else value
