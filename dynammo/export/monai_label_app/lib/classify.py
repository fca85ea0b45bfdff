"""What MONAI Label calls to classify an image; it always answers with the bundle that is served now."""

import logging
import time
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.utils.others.generic import device_list, name_to_device

from lib import NOTICE
from lib.bundle_checks import BundleFault
from lib.colours import readable
from lib.loading import Bundle, Scores, load_bundle
from lib.served import served_bundle

__all__ = ["Classify"]

logger = logging.getLogger(__name__)
Json = dict[str, Any]
LOW_CONFIDENCE = 0.5


class Classify(InferTask):  # type: ignore[misc]
    """Classifies one image with the bundle that is served.

    A bundle is loaded at the first request and again when another one is served or its network has changed on disk.
    A faulty bundle is refused at every request until it is mended; the server lives on.

    Args:
        model: folder `model/NAME` of the app.
    """

    def __init__(self, model: Path) -> None:
        super().__init__(InferType.CLASSIFICATION, {}, 2, "")
        self._model = model
        self._loaded: dict[str, tuple[object, Bundle]] = {}  # by device

    def is_valid(self) -> bool:
        """Shown in /info, even with a fault: there it says which."""
        return True

    def config(self) -> Json:
        """Options that viewers show."""
        return {"device": device_list(), "any_image": False}

    def info(self) -> Json:
        """Classes, version and description of the bundle that is served, or its fault."""
        try:
            bundle = self.bundle()
        except HTTPException as error:
            self.labels, self.description = {}, str(error.detail)
            return {**super().info(), "fault": error.detail}
        self.labels = {name: index for index, name in enumerate(bundle.classes)}
        self.dimension = bundle.record["config"]["recipe"]["spatial_dims"]
        self.description = bundle.metadata.get("description", "")
        return {**super().info(), "version": bundle.metadata.get("version"), "notice": NOTICE}

    def bundle(self, device: str = "cpu") -> Bundle:
        """The bundle that is served, checked and loaded.

        Raises:
            HTTPException: 503, it must not be used.
        """
        try:
            folder = served_bundle(self._model)
            state = _state(folder)
            known = self._loaded.get(device)
            if known is None or known[0] != state:
                known = self._loaded[device] = state, load_bundle(folder, device)
            return known[1]
        except (BundleFault, ValueError, OSError) as error:
            self._loaded.pop(device, None)
            raise HTTPException(503, f"the model {self._model.name} is not used: {error}") from error

    def __call__(self, request: Json) -> tuple[None, Json]:
        """Classify the image at the path `request["image"]`.

        Args:
            request: `image`, and if need be `device` and `any_image` (classify what looks unlike all training images,
                too).

        Returns:
            None, since no file is written, and `prediction` (index, label and score of every class), `label` and
            `score` of the most probable one, `unknown`, `ood_score`, `flags`, `version`.

        Raises:
            HTTPException: 422 no image or one of another kind, 503 a model that must not be used.
        """
        start = time.time()
        bundle = self.bundle(name_to_device(request.get("device")))
        scores = bundle.scores(_prepared(bundle, Path(request["image"])))
        if not request.get("any_image"):
            _refuse_other_kind(scores, bundle)
        seconds = round(time.time() - start, 3)
        logger.info("classified in %.3f s", seconds)
        return None, {**_answer(scores, bundle), "latencies": {"total": seconds}}


def _state(folder: Path) -> object:
    """What changes when a file of the bundle does; the sha256 is computed only then."""
    files = (folder / "models" / "model.ts", folder / "models" / "run.json", folder / "configs" / "metadata.json")
    return folder, [(f.stat().st_mtime_ns, f.stat().st_ctime_ns, f.stat().st_size, f.stat().st_ino) for f in files]


def _prepared(bundle: Bundle, path: Path) -> Any:  # noqa: ANN401
    try:
        with readable(path) as file:
            return bundle.prepare({"image": str(file)})["image"]
    except Exception as error:  # decoders raise many kinds, and their messages may quote headers
        raise HTTPException(
            422,
            f"the file cannot be read as an image ({type(_innermost(error)).__name__}); expected DICOM, NIfTI, PNG, "
            "JPEG or TIFF: send another file.",
        ) from error


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return error


def _refuse_other_kind(scores: Scores, bundle: Bundle) -> None:
    trust = bundle.record.get("trust", {})
    limit = trust.get("out_of_distribution_threshold", trust.get("looks_threshold"))  # the latter of 0.1
    if limit is not None and scores.ood_score > limit:
        raise HTTPException(
            422,
            f"the image looks unlike all images that the model has learnt from (distance {scores.ood_score:.2f}, "
            f"limit {limit:.2f}); it may come from another modality: send an image of the right kind, or the "
            'parameter {"any_image": true} to classify it all the same.',
        )


def _answer(scores: Scores, bundle: Bundle) -> Json:
    prediction: list[Json] = [
        {"idx": index, "label": name, "score": score}
        for index, (name, score) in enumerate(zip(bundle.classes, scores.probabilities))  # noqa: B905  equal: checked
    ]
    best = max(prediction, key=lambda entry: entry["score"])
    limit = bundle.record.get("trust", {}).get("unknown_threshold")
    flags = {
        "unknown": limit is not None and scores.unknown > limit,
        "low confidence": best["score"] < LOW_CONFIDENCE,
    }
    return {
        "prediction": prediction,
        "label": best["label"],
        "score": best["score"],
        "unknown": scores.unknown,
        "ood_score": scores.ood_score,
        "strangeness": scores.ood_score,  # its name in 0.1, beside the new one for one release
        "flags": [name for name, raised in flags.items() if raised],
        "label_names": {entry["label"]: entry["idx"] for entry in prediction},
        "version": bundle.metadata.get("version"),
        "notice": NOTICE,
    }
