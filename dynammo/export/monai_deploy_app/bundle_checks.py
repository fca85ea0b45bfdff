"""The bundle, checked before anything of it is loaded."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dynammo.errors import UserError
from dynammo.runs.record import Record, check_usable, read_record
from dynammo.runtime.config import original
from dynammo.runtime.files import sha256

__all__ = ["Bundle", "open_bundle"]

# DICOM modalities by the words of a bundle's metadata; photographs come under several
PHOTOGRAPHS = ("XC", "GM", "ES", "OT", "SC")
MODALITIES = {
    "dermoscop": ("DMS", *PHOTOGRAPHS),
    "fundus": ("OP", *PHOTOGRAPHS),
    "endoscop": PHOTOGRAPHS,
    "histo|patholog": ("SM", *PHOTOGRAPHS),
    "x-?ray|radiograph": ("CR", "DX", "MG", "RG", "RF", "XA", "PX", "IO"),
    "mammogra": ("MG",),
    r"\bct\b|computed": ("CT",),
    r"\bmri?\b|magnetic": ("MR",),
    "ultraso": ("US",),
}


@dataclass(frozen=True)
class Bundle:
    """An exported bundle whose parts belong together.

    Attributes:
        path: its folder.
        name: as its metadata says.
        version: as its metadata says.
        classes: in the order of the network's outputs.
        recipe: how images are prepared; here `spatial_dims` (2, 3) and `volumes` (middle, maximum, slices) count.
        unknown_threshold: unknown score above which an image is flagged; None where the run fitted none.
        modalities: DICOM modalities of its images; empty where its metadata does not tell.
        sha256: of `models/model.ts`.
        about_classes: names, codes and marks of classes, as the record has them.
    """

    path: Path
    name: str
    version: str
    classes: tuple[str, ...]
    recipe: dict[str, Any]
    unknown_threshold: float | None
    modalities: tuple[str, ...]
    sha256: str
    about_classes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> Path:
        """The TorchScript file."""
        return self.path / "models" / "model.ts"


def open_bundle(path: Path) -> Bundle:
    """Check that the model is the one that its record describes and that its classes are those of the metadata.

    Raises:
        UserError: no bundle, a file missing or damaged, another model file than recorded, other classes.
    """
    metadata = _metadata(path)
    record = read_record("bundle", path / "models" / "model.ts")
    check_usable(record, path.name)
    formats = metadata["network_data_format"]
    classes = tuple(record["classes"])
    if _classes(formats) != classes:
        raise UserError(
            f"the bundle {path.name} is inconsistent: configs/metadata.json and models/run.json name other classes or "
            "another order; export the model again."
        )
    return Bundle(
        path=path,
        name=str(metadata.get("name", path.name)),
        version=str(metadata.get("version", "")),
        classes=classes,
        recipe=dict(record["config"]["recipe"]),
        unknown_threshold=record.get("trust", {}).get("unknown_threshold"),
        modalities=_modalities(formats),
        sha256=_checked_digest(path / "models" / "model.ts", record),
        about_classes=record.get("about_classes", {}),
    )


def _metadata(path: Path) -> dict[str, Any]:
    file = path / "configs" / "metadata.json"
    try:
        metadata: dict[str, Any] = original(json.loads(file.read_bytes()))
        metadata["network_data_format"]["post_processed_outputs"]["pred"]["channel_def"].items()
        return metadata
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path.name} is not an exported bundle ({file.name}: {type(error).__name__}); give the folder that "
            "dynammo export wrote."
        ) from error


def _classes(formats: dict[str, Any]) -> tuple[str, ...]:
    channels = formats["post_processed_outputs"]["pred"]["channel_def"]
    return tuple(channels.get(str(i), "") for i in range(len(channels)))


def _checked_digest(file: Path, record: Record) -> str:
    try:
        digest = sha256(file)
    except OSError as error:
        raise UserError(f"{file.name} cannot be read ({error.strerror}); export the model again.") from error
    if record.get("files", {}).get(file.name) != digest:
        raise UserError(
            f"{file.name} is not the file that run.json beside it describes (its sha256 differs), so it is not loaded; "
            "copy the whole bundle again from where it was exported."
        )
    return digest


def _modalities(formats: dict[str, Any]) -> tuple[str, ...]:
    words = str(formats["inputs"]["image"].get("modality", "")).lower()
    found = [name for pattern, names in MODALITIES.items() if re.search(pattern, words) for name in names]
    return tuple(dict.fromkeys(found))
