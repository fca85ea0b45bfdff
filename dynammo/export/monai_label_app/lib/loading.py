"""A bundle ready to classify: its network as TorchScript and its own preparation of images; nothing is unpickled."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from lib.bundle_checks import BundleFault, Json, check_bundle

__all__ = ["Bundle", "Scores", "load_bundle"]

RECORD = "run.json"  # carried inside the TorchScript, too


@dataclass(frozen=True)
class Scores:
    """What the network says of one image.

    Attributes:
        probabilities: one for each class, in their order; they sum to 1.
        unknown: 0 to 1, how much the image speaks for none of the classes.
        ood_score: how far the image is from all training images; about 1 for images like those, 0 where the
            network does not know.
    """

    probabilities: list[float]
    unknown: float
    ood_score: float


@dataclass(frozen=True)
class Bundle:
    """An exported bundle.

    Attributes:
        record: `models/run.json`.
        metadata: `configs/metadata.json`.
        network: TorchScript of the merged classifier, in eval mode.
        prepare: `{"image": path}` to a prepared `image` (3, H, W).
        device: where the network lies.
    """

    record: Json
    metadata: Json
    network: Any
    prepare: Callable[[Json], Json]
    device: str

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the probabilities."""
        return list(self.record["classes"])

    @torch.inference_mode()
    def scores(self, image: torch.Tensor) -> Scores:
        """Classify one prepared image (3, H, W) or volume (3, D, H, W)."""
        maps = self.network.maps(image[None].to(self.device))
        probabilities, unknown = self.network.join(self.network.logits(self.network.pool(maps)))
        score = self.network.ood_score if hasattr(self.network, "ood_score") else self.network.strangeness  # of 0.1
        return Scores(probabilities[0].tolist(), float(unknown[0, 0]), float(score(maps)[0]))


def load_bundle(folder: Path, device: str = "cpu") -> Bundle:
    """Check and load a bundle.

    Args:
        folder: of an exported bundle.
        device: such as cpu or cuda:0.

    Raises:
        BundleFault: it is not what its record says, or cannot be loaded.
    """
    record, metadata = check_bundle(folder)
    inside = {RECORD: ""}
    try:
        file = str(folder / "models" / "model.ts")
        network = torch.jit.load(file, map_location=device, _extra_files=inside)  # type: ignore[no-untyped-call]
        network.eval()
        config = ConfigParser()
        config.read_config(str(folder / "configs" / "inference.yaml"))
        prepare = config.get_parsed_content("preprocessing")
    except Exception as error:  # of many kinds, from TorchScript and from the config
        raise BundleFault(
            f"the bundle cannot be loaded ({type(error).__name__}); export the model again with the versions of torch "
            "and MONAI in requirements.txt."
        ) from error
    bundle = Bundle(record, metadata, network, prepare, device)
    _check_network(bundle, inside[RECORD])
    return bundle


def _check_network(bundle: Bundle, inside: str | bytes) -> None:
    """The network must know the classes of the record: by name, where it carries them, and by number."""
    if inside and json.loads(inside).get("classes") != bundle.classes:
        raise BundleFault("models/model.ts carries other classes than models/run.json; export the model again.")
    try:
        config = bundle.record["config"]
        sides = [int(config["image_size"])] * {2: 2, 3: 3}[config["recipe"]["spatial_dims"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleFault("models/run.json does not say how images are prepared; export the model again.") from error
    found = len(bundle.scores(torch.zeros(3, *sides)).probabilities)
    if found != len(bundle.classes):
        raise BundleFault(
            f"models/model.ts tells {found} classes apart, but models/run.json names {len(bundle.classes)}; export the "
            "model again."
        )
