"""What MONAI Label calls to classify many images: one that cannot be classified does not stop the others."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from fastapi import HTTPException
from monailabel.interfaces.tasks.batch_infer import BatchInferTask

__all__ = ["Batch"]

Json = dict[str, Any]
TAG = "original"


class Batch(BatchInferTask):  # type: ignore[misc]
    """Classifies images of the datastore and saves each answer there as JSON, under the tag `original`."""

    def __call__(self, request: Json, datastore: Any, infer: Callable[[Json, Any], Json]) -> Json:  # noqa: ANN401
        """Classify.

        Args:
            request: `images` (all, labeled, unlabeled or a list), `label_tag`, `max_batch_size`, `device`.
            datastore: where the images are and the answers go.
            infer: classifies one image.

        Returns:
            By image: the answer in `params`, or `error`, the sentence that says why there is none.
        """
        tag = request.get("label_tag") or TAG

        def classify(one: Json, store: Any) -> Json:  # noqa: ANN401
            try:
                answer = infer(one, store)
            except HTTPException as error:
                answer = {"error": error.detail}
            _save(store, one["image"], tag, answer.get("params", answer))
            return answer

        found: Json = super().__call__({**request, **_devices()}, datastore, classify)
        return found


def _devices() -> Json:
    """Label's default is several GPUs, which fails where there is none."""
    return {} if torch.cuda.is_available() else {"multi_gpu": False, "device": "cpu"}


def _save(datastore: Any, image: str, tag: str, answer: Json) -> None:  # noqa: ANN401
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "answer.json")
        file.write_text(json.dumps(answer), encoding="utf-8")
        datastore.save_label(image, str(file), tag, {})
