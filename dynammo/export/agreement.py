"""Every form of an exported model on the same images: they must agree before anybody hears that it is exported."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose

from dynammo.data.preprocessing import exported_preprocessing, preprocessing_of
from dynammo.errors import UserError
from dynammo.inference.onnx import onnx_outputs
from dynammo.io.image_reader import image_fault, image_format
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runs.load import load_model
from dynammo.runs.record import Record

__all__ = ["TOLERANCE", "Agreement", "check_agreement", "sample_images"]

TOLERANCE = 1e-4  # of probabilities
SPREAD = 10  # times what float32 costs the network itself, where that is more
MOST_LOOKED_AT = 20_000  # files of a folder
MOST_IMAGES = 16


def sample_images(folder: Path | None) -> list[Path]:
    """A few readable images from all over a folder, by name; none where there is no folder."""
    if folder is None or not folder.is_dir():
        return []
    found = sorted(islice((path for path in folder.rglob("*") if path.is_file()), MOST_LOOKED_AT))
    spread = {found[k * len(found) // MOST_IMAGES]: None for k in range(MOST_IMAGES)} if found else {}
    return [path for path in spread if image_format(path) and image_fault(path) is None]


@dataclass(frozen=True)
class Agreement:
    """What the forms of an exported model make of the same images.

    Attributes:
        difference: the largest difference of a probability between the network of the run and any other form.
        images: real images that were compared; 0 where noise took their place.
        misread: those that the exported inference config reads otherwise than dynammo, or not at all.
    """

    difference: float
    images: int
    misread: int


def check_agreement(bundle: Path, network: MergedClassifier, record: Record, images: Sequence[Path]) -> Agreement:
    """Compare every form of the model in `bundle` with the network of the run.

    Args:
        bundle: an exported bundle.
        network: of the run, on the CPU.
        record: `run.json` of the run.
        images: real ones; noise takes their place where there are none.

    Raises:
        UserError: a probability differs by more than 1e-4, and by more than rounding explains.
    """
    read = preprocessing_of(record)
    batch = torch.stack([_read(read, path) for path in images]) if images else _noise(record)
    with torch.inference_mode():
        expected = network(batch)
        allowed = max(TOLERANCE, SPREAD * _rounding(network, batch, expected))
        found = {
            form: max(float((output - expected).abs().max()) for output in outputs)
            for form, outputs in _outputs(bundle / "models", batch).items()
        }
        apart = [_misread(bundle, network, path, row, allowed) for path, row in zip(images, expected, strict=False)]
    for form, difference in found.items():
        if not difference <= allowed:
            raise UserError(
                f"{form} gives probabilities that differ by {difference:.1e} from those of the run, more than "
                f"{allowed:.0e}; nothing was exported: use the run itself and report this with your version of torch."
            )
    return Agreement(max(found.values()), len(images), sum(apart))


def _outputs(models: Path, batch: torch.Tensor) -> dict[str, list[torch.Tensor]]:
    script: Any = torch.jit.load(str(models / "model.ts"), map_location="cpu")  # type: ignore[no-untyped-call]
    outputs = {"model.pt": [load_model(models).network(batch)]}
    outputs["model.ts"] = [script(batch) for _ in range(3)]  # compiled anew by the second pass
    if (models / "model.onnx").is_file():
        outputs["model.onnx"] = [onnx_outputs(models / "model.onnx", batch)]
    return outputs


def _rounding(network: MergedClassifier, batch: torch.Tensor, expected: torch.Tensor) -> float:
    """What float32 costs the network itself: much where next to nothing tells classes apart, as in made-up data."""
    exact = copy.deepcopy(network).double()(batch.double())
    return float((exact - expected).abs().max())


def _misread(bundle: Path, network: MergedClassifier, path: Path, expected: torch.Tensor, allowed: float) -> bool:
    try:
        image = _read(exported_preprocessing(bundle), path)
    except Exception:  # MONAI's readers raise many kinds
        return True
    return not float((network(image[None])[0] - expected).abs().max()) <= allowed


def _read(transform: Compose, path: Path) -> torch.Tensor:
    image: torch.Tensor = transform({"image": str(path)})["image"]
    return image


def _noise(record: Record) -> torch.Tensor:
    sides = [record["config"]["image_size"]] * record["network"].get("spatial_dims", 2)
    return torch.randn(2, 3, *sides, generator=torch.Generator().manual_seed(0))
