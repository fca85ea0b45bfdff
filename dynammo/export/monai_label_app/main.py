"""The MONAI Label app: classifies with every model in `model/`, in one or many images, and teaches it new classes.

Start it with `start.py`; MONAI Label imports this file in the server and in the processes of its background tasks.
"""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from lib.torchvision_ops import import_torchvision

import_torchvision()  # before Label does

from lib import NOTICE  # noqa: E402
from lib.batch import Batch  # noqa: E402
from lib.classify import Classify  # noqa: E402
from lib.learn import Learn, NotLearnt  # noqa: E402
from lib.served import model_folders  # noqa: E402
from monailabel.config import settings  # noqa: E402
from monailabel.datastore.local import LocalDatastore  # noqa: E402
from monailabel.interfaces.app import MONAILabelApp  # noqa: E402
from monailabel.interfaces.tasks.strategy import Strategy  # noqa: E402
from monailabel.tasks.activelearning.first import First  # noqa: E402
from monailabel.tasks.activelearning.random import Random  # noqa: E402

Json = dict[str, Any]
TALKATIVE = ("monailabel", "monai", "LoadImage", "lib")
ENDINGS = ("nii.gz", "nii", "png", "jpg", "jpeg", "tif", "tiff", "dcm", "dicom", "ima")


for name in TALKATIVE:  # they name files, which may be called after people
    logging.getLogger(name).setLevel(os.environ.get("DYNAMMO_LABEL_VERBOSE", "WARNING"))


class DynammoApp(MONAILabelApp):  # type: ignore[misc]
    """Models of DynaMMo in MONAI Label.

    Args:
        app_dir: this folder.
        studies: folder of the images.
        conf: pairs behind `--conf`: `models` (names, with commas between; all if left out), `dynammo`, `max_drop`,
            `test_data`.
    """

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        self._folders = _chosen(model_folders(Path(app_dir) / "model"), conf.get("models", ""))
        super().__init__(
            app_dir,
            studies,
            conf,
            name="DynaMMo",
            description=f"Class-incremental classification. {NOTICE}",
        )

    def init_datastore(self) -> LocalDatastore:
        """Images and labels in the folder of the studies; DICOM files, too."""
        if self.studies.startswith(("http://", "https://")):
            raise SystemExit("this app reads images from a folder; give --studies FOLDER.")
        patterns = [f"*.{form}" for ending in ENDINGS for form in (ending, ending.upper())]
        return LocalDatastore(
            self.studies,
            extensions=patterns,
            auto_reload=settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD,
            read_only=settings.MONAI_LABEL_DATASTORE_READ_ONLY,
        )

    def init_infers(self) -> dict[str, Classify]:
        """One a model."""
        return {name: Classify(folder) for name, folder in self._folders.items()}

    def init_trainers(self) -> dict[str, Learn]:
        """One a model."""
        return {name: Learn(Path(self.app_dir), folder, self.conf) for name, folder in self._folders.items()}

    def init_strategies(self) -> dict[str, Strategy]:
        """Which image to label next."""
        return {"random": Random(), "first": First()}

    def init_batch_infer(self) -> Callable[..., Json]:
        """Many images."""
        return Batch()

    def infer(self, request: Json, datastore: Any = None) -> Json:  # noqa: ANN401
        """Classify one image; see `lib.classify.Classify`.

        Raises:
            HTTPException: 404 no such model or image, and those of `Classify`.
        """
        self._check_model(request)
        image, store = request.get("image", ""), datastore or self.datastore()
        if not Path(image).is_file() and not store.get_image_uri(image):
            raise HTTPException(404, "there is no image of this id; GET /datastore/?output=all lists them.")
        found: Json = super().infer(request, datastore)
        return found

    def batch_infer(self, request: Json, datastore: Any = None) -> Json:  # noqa: ANN401
        """Classify many images; see `lib.batch.Batch`.

        Returns:
            The answers by image; in a background task, whose result goes to the log, only how many there are.
        """
        self._check_model(request)
        found: Json = super().batch_infer(request, datastore)
        if self._server_mode:
            return found
        refused = sum("error" in answer for answer in found.values())
        return {"classified": len(found) - refused, "refused": refused}

    def train(self, request: Json) -> Json:
        """Learn from the labels; see `lib.learn.Learn`.

        Raises:
            HTTPException: 404 no such model, 409 there is no new model.
        """
        self._check_model(request)
        try:
            found: Json = super().train(request)
            return found
        except NotLearnt as error:
            if self._server_mode:
                raise HTTPException(409, str(error)) from error
            sys.exit(f"error: {error}")  # a background task, whose last lines GET /train/ shows

    def _check_model(self, request: Json) -> None:
        if request.get("model") not in self._folders:
            raise HTTPException(404, f"there is no such model; expected {' or '.join(self._folders)}.")


def _chosen(folders: dict[str, Path], names: str) -> dict[str, Path]:
    wanted = [name.strip() for name in names.split(",") if name.strip()] or list(folders)
    missing = [name for name in wanted if name not in folders]
    if missing or not wanted:
        here = ", ".join(folders) or "none"
        raise SystemExit(f"there is no model {', '.join(missing)} in the folder model; these are there: {here}.")
    return {name: folders[name] for name in wanted}
