"""Images through MONAI Deploy's application, in the environment that `make test-deploy` makes."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from pydicom.uid import generate_uid
from synthetic.datasets import ROOT
from synthetic.images import dicom, save

from dynammo.export.monai_deploy import write_deploy_app

__all__ = ["DEPLOY_PYTHON", "Ran", "classify_pictures", "run_app", "write_photograph"]

DEPLOY_PYTHON = Path(os.environ.get("DYNAMMO_DEPLOY_VENV", ROOT / ".venv-deploy")) / "bin" / "python"
PATIENCE = 300  # seconds


class Ran:
    """What an application left: exit status, what it said, its document."""

    def __init__(self, done: "subprocess.CompletedProcess[str]", folder: Path) -> None:
        self.status, self.said, self.folder = done.returncode, done.stdout + done.stderr, folder
        document = folder / "predictions.json"
        self.document: dict[str, Any] = json.loads(document.read_text()) if document.is_file() else {}

    @property
    def series(self) -> dict[str, dict[str, Any]]:
        """Rows by SeriesInstanceUID."""
        return {row["series_uid"]: row for row in self.document["series"]}


def run_app(app: Path, source: Path, output: Path, *options: str) -> Ran:
    """`python APP -i SOURCE -o OUTPUT`."""
    if not DEPLOY_PYTHON.is_file():
        raise FileNotFoundError(f"{DEPLOY_PYTHON} is not there; type make test-deploy, which makes it")
    words = [str(DEPLOY_PYTHON), str(app), "-i", str(source), "-o", str(output), *options]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, cwd=output.parent, env=inherited)
    return Ran(done, output)


def write_photograph(picture: Path, to: Path, **elements: Any) -> str:  # noqa: ANN401
    """A picture as secondary capture of a series of its own, whose identifier comes back."""
    with Image.open(picture) as opened:
        upright = ImageOps.exif_transpose(opened)
        pixels = np.asarray(upright if upright.mode == "L" else upright.convert("RGB"))
    known = {"Modality": "DMS", "SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid()}
    image = dicom(pixels, **known | elements)
    save(image, to)
    return str(image.SeriesInstanceUID)


def classify_pictures(
    bundle: Path, pictures: Sequence[Path], workplace: Path
) -> dict[Path, tuple[dict[str, float], float]]:
    """Pictures, turned into DICOM, through the application of an exported bundle.

    Args:
        bundle: folder that `dynammo export` wrote.
        pictures: PNG or JPEG of 8 bits.
        workplace: empty folder for application, DICOM files and results.

    Returns:
        For each picture the probability of every class, and the unknown score.

    Raises:
        RuntimeError: the application did not classify all of them.
    """
    app, source = write_deploy_app(bundle, workplace / "app"), workplace / "dicom"
    source.mkdir()
    uids = {picture: write_photograph(picture, source / f"{i}.dcm") for i, picture in enumerate(pictures)}
    ran = run_app(app, source, workplace / "results")
    if ran.status:
        raise RuntimeError(f"the application ended with {ran.status}: {ran.said}")
    return {picture: (ran.series[uid]["probabilities"], ran.series[uid]["unknown"]) for picture, uid in uids.items()}
