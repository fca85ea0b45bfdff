"""Files that are whole or not there: atomic writes of run state, model and records."""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch

from dynammo.errors import UserError

__all__ = ["load_state", "prepare_output_dir", "save_state", "sha256", "write_atomically", "write_json"]


def prepare_output_dir(output_dir: str | Path) -> Path:
    """Make `output_dir` and prove that it can be written, before hours of training go into it.

    Raises:
        UserError: it is a file, or cannot be made or written.
    """
    folder = Path(output_dir).expanduser()
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
    """Write a file under a temporary name, flush it to disk, then rename it, so that no reader sees half of it."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def save_state(path: Path, state: Any) -> None:  # noqa: ANN401
    """Save tensors, numbers, strings, lists and dicts, atomically."""
    write_atomically(path, lambda file: torch.save(state, file))


def load_state(path: Path, device: str | torch.device = "cpu") -> Any:  # noqa: ANN401
    """Load what `save_state` wrote; nothing is unpickled beyond tensors and plain values.

    Raises:
        UserError: no such file, or not such a file.
    """
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"there is no model file {path}; give the model.pt of a finished run.") from error
    except Exception as error:  # torch raises a dozen kinds for a damaged file; all mean the same to the user
        raise UserError(f"the file {path} is damaged or not a model ({type(error).__name__}).") from error


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """Write JSON atomically; NaN, which JSON does not know, becomes null."""
    text = json.dumps(_without_nan(value), indent=2, ensure_ascii=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _without_nan(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
