"""Whether a bundle is what its record says: files by sha256, classes of record, metadata and network."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["BundleFault", "check_bundle", "file_sha256"]

Json = dict[str, Any]
NETWORK = "model.ts"


class BundleFault(ValueError):
    """A bundle that must not be used; its message is a sentence for people."""


def check_bundle(bundle: Path, whole: bool = False) -> tuple[Json, Json]:
    """Check a bundle before anything of it is loaded.

    Args:
        bundle: folder of an exported bundle.
        whole: check every file that `run.json` describes, not only the network that classifies.

    Returns:
        The record (`models/run.json`) and the metadata (`configs/metadata.json`).

    Raises:
        BundleFault: a file is missing, unreadable or another one; other classes in record and metadata.
    """
    record = _read(bundle / "models" / "run.json")
    metadata = _read(bundle / "configs" / "metadata.json", _original)
    hashes = record.get("files")
    if not isinstance(hashes, dict):
        raise BundleFault("models/run.json tells no sha256 of its files; export the model again.")
    for name in {NETWORK, *hashes} if whole else {NETWORK}:
        _check_file(bundle / "models" / name, hashes.get(name))
    _check_classes(record.get("classes"), metadata)
    return record, metadata


def file_sha256(path: Path) -> str:
    """The sha256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            digest.update(part)
    return digest.hexdigest()


def _read(path: Path, take: Callable[[Any], Any] = lambda found: found) -> Json:
    try:
        found = take(json.loads(path.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        raise BundleFault(
            f"{_short(path)} is missing or damaged ({type(error).__name__}); export the model again."
        ) from error
    if not isinstance(found, dict):
        raise BundleFault(f"{_short(path)} is damaged; export the model again.")
    return found


def _original(value: Any) -> Any:  # noqa: ANN401
    """Text as it was before the export made it mean nothing to MONAI (`dynammo.runtime.config.inert`)."""
    if isinstance(value, dict):
        return {_original(key): _original(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_original(item) for item in value]
    return re.sub(r"([\\@%])\\", r"\1", value[1:]) if isinstance(value, str) and value.startswith("\\") else value


def _check_file(path: Path, expected: object) -> None:
    if not path.is_file():
        raise BundleFault(f"{_short(path)} is missing; export the model again.")
    if file_sha256(path) != expected:
        raise BundleFault(
            f"{_short(path)} is not the file that models/run.json describes (its sha256 differs); it may be damaged or "
            "tampered with: export the model again."
        )


def _check_classes(classes: object, metadata: Json) -> None:
    if not isinstance(classes, list) or not classes or not all(isinstance(name, str) for name in classes):
        raise BundleFault("models/run.json names no classes; export the model again.")
    for names in _described_classes(metadata):
        if names not in (classes, [*classes, "unknown"]):
            raise BundleFault(
                f"the model knows {len(classes)} classes ({', '.join(classes)}), but configs/metadata.json names "
                f"{len(names)} channels ({', '.join(names)}); export the model again."
            )


def _described_classes(metadata: Json) -> list[list[str]]:
    """Names of the channels of the prediction, before and after postprocessing, where the metadata tell them."""
    try:
        formats = metadata["network_data_format"]
        outputs = (formats.get(part, {}).get("pred", {}) for part in ("outputs", "post_processed_outputs"))
        channels = [output["channel_def"] for output in outputs if "channel_def" in output]
        found = [[str(names[key]) for key in sorted(names, key=int)] for names in channels]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleFault("configs/metadata.json is damaged; export the model again.") from error
    if not found:
        raise BundleFault("configs/metadata.json names no classes; export the model again.")
    return found


def _short(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"
