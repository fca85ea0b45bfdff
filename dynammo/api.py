"""DynaMMo from Python: `import dynammo` gives `train`, `load` and `Model`.

    import dynammo

    model = dynammo.load("runs/derm8")
    model.predict("lesion.jpg").top(3)

Underneath runs the code of the commands, so that both say the same. What goes wrong and can be mended is a
`dynammo.errors.UserError`, whose message is the whole explanation. Nothing is printed unless `verbose` is set. Random
generators, the number of threads and the exception hook of the program stay as they were. One call works at a time;
calls from other threads wait.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset

from dynammo.clinic.classify import ClassifySettings, make_classifier
from dynammo.clinic.prediction import Prediction, prediction_of
from dynammo.errors import UserError, printable
from dynammo.inference.in_memory import ImageLike, studies_of
from dynammo.lifecycle.compare import Comparison, print_comparison
from dynammo.lifecycle.compare import compare as compare_runs
from dynammo.lifecycle.guest import as_guest
from dynammo.runs.load import load_model
from dynammo.runs.record import measured
from dynammo.runtime.plain import expanded
from dynammo.runtime.unfinished import work_folder

if TYPE_CHECKING:  # what takes seconds to import is imported by the methods that need it
    from dynammo.export.export_run import Exported
    from dynammo.lifecycle.evaluate import Evaluation

__all__ = ["Comparison", "Model", "Prediction", "compare", "load", "train"]

Folder = str | PathLike[str]
IMAGES = "dynammo-predict."  # begins the names of folders of images that are no files


class Model:
    """A trained model; made by `load`, and by the methods that make a new one.

    Attributes:
        name: of its folder or file.
        path: where it lies.
        classes: names in label order.
        method: name of the method that it was trained by; may be empty.
        mean_class_recall: over all its classes after its last task, 0 to 1; NaN where it was not measured on all.
        record: all that `run.json` says; read it, do not change it.
    """

    def __init__(self, path: Path | None, settings: ClassifySettings) -> None:
        loaded = load_model(path)
        self._settings = settings
        self._classifier = make_classifier(loaded, settings)
        self.name: str = loaded.name
        self.path: Path = loaded.path
        self.record: Mapping[str, Any] = loaded.record
        self.classes: list[str] = list(loaded.record["classes"])
        self.method: str = loaded.record.get("method", "")
        self._measured = measured(loaded.record)
        self.mean_class_recall = math.nan if self._measured.whole is None else self._measured.whole

    def __repr__(self) -> str:
        facts = [f"{len(self.classes)} classes ({', '.join(self.classes)})", self.method]
        if self._measured.recall is not None:
            facts.append(f"mean class recall {self._measured}")
        return printable(f"<Model {self.name}: {', '.join(filter(None, facts))}>")

    @overload  # lists first: to a type checker without pydicom's types a Dataset may be anything
    def predict(self, images: list[Any] | tuple[Any, ...]) -> list[Prediction]: ...
    @overload
    def predict(self, images: NDArray[Any] | Image.Image | Dataset) -> Prediction: ...
    @overload
    def predict(self, images: Folder) -> Prediction | Any: ...  # noqa: ANN401
    def predict(self, images: ImageLike | list[Any] | tuple[Any, ...]) -> Prediction | list[Prediction]:
        """Classify one image or many: the same image gets the same digits as from `dynammo classify`.

        Args:
            images: a path, an array, a picture of PIL, a data set of pydicom, or a list of these.
                A path is that of an image (DICOM, NIfTI, PNG, JPEG, TIFF ...), or of a folder, a zip, a DICOMDIR or a
                list of paths. An array is (H, W) or (H, W, 3): uint8 holds values for the screen, 0 to 255; colours may
                be floats from 0 to 1 as well; all other grey numbers are measured values, such as Hounsfield units,
                which the recipe of the model scales as it scales those of a file. Entries of a list may be folders of
                one DICOM series each; data sets of pydicom are classified one by one.

        Returns:
            A `Prediction`; for a list one for each entry, in its order; for a folder, a zip, a DICOMDIR or a list of
            paths one for each study in it, sorted by name. One that cannot be read has the label None and the flag
            `unreadable`, and tells the reason.

        Raises:
            UserError: no image there, or something that is none; in a list before any of it is classified.
        """
        with as_guest(), work_folder(IMAGES) as folder:
            studies, single = studies_of(images, folder)
            found = [
                prediction_of(result, self._classifier.thresholds, self.name)
                for result in self._classifier.classify(studies)
            ]
        return found[0] if single else found

    def evaluate(
        self, folder: Folder | None = None, *, to: Folder | None = None, skip_unreadable: bool = False,
        verbose: bool = False,
    ) -> "Evaluation":  # fmt: skip
        """Measure the model on test images.

        Args:
            folder: class folders, `test/` with class folders, or a data list (CSV or JSON); None for the test images
                that the run was measured on before, as far as they are still there.
            to: folder for `evaluation.json`; None to write nothing.
            skip_unreadable: leave unreadable images out instead of refusing.
            verbose: print what `dynammo evaluate` prints.

        Returns:
            Accuracy, mean class recall and the recall of each class, 0 to 1, and more.

        Raises:
            UserError: no test image, or a class that the model has not learnt.
        """
        from dynammo.lifecycle.evaluate import evaluate

        with as_guest(verbose):
            return evaluate(self.path, _path(folder), _path(to), skip_unreadable, self._settings.device)

    def learn(
        self, folder: Folder, to: Folder, *, max_drop: float = 2.0, test_data: Folder | None = None,
        reviews: Folder | None = None, without_exemplars: bool = False, skip_unreadable: bool = False,
        overlays: Sequence[Folder] = (), mlflow: bool = True, verbose: bool = False,
    ) -> "Model":  # fmt: skip
        """Learn more classes, or more images of known ones; interrupted, the same call resumes.

        What the known classes lost is in `learning.json` in the new folder.

        Args:
            folder: a folder of new images for each class, or `train/` and `test/` with these.
            to: folder of the new run.
            max_drop: percentage points of mean class recall that known classes may lose, from 0.
            test_data: more test images, a folder for each class.
            reviews: the `review.csv` that a report saved: its corrected images are learnt, and `folder` is what was
                classified.
            without_exemplars: learn without the images that the model kept.
            skip_unreadable: leave unreadable images out instead of refusing.
            overlays: the recipe that the model was trained with, for its augmentation.
            mlflow: record it in MLflow.
            verbose: print what `dynammo learn` prints.

        Returns:
            The new model; this one is left as it is.

        Raises:
            UserError: nothing new to learn, a model that can only predict, a finished model in `to`, or known classes
                that lost more than `max_drop`.
        """
        from dynammo.lifecycle.commands import LearnSettings, learn

        settings = LearnSettings(
            max_drop=max_drop, test_data=_path(test_data), reviews=_path(reviews), without_exemplars=without_exemplars,
            skip_unreadable=skip_unreadable, overlays=tuple(map(Path, overlays)), device=self._settings.device,
            mlflow=mlflow,
        )  # fmt: skip
        with as_guest(verbose):
            learn(self.path, Path(folder), Path(to), settings)
            return self._new(to)

    def forget(
        self, *, class_name: str | None = None, task: int | None = None, to: Folder, mlflow: bool = True,
        verbose: bool = False,
    ) -> "Model":  # fmt: skip
        """Remove a class or a task.

        Args:
            class_name: the class to forget, or
            task: the number of the task to forget, from 1.
            to: folder of the new run.
            mlflow: record it in MLflow.
            verbose: print what `dynammo forget` prints.

        Returns:
            The new model; this one is left as it is.

        Raises:
            UserError: both or neither, no such class or task, no run (an export cannot forget), a finished model in
                `to`.
        """
        from dynammo.lifecycle.commands import forget

        with as_guest(verbose):
            forget(self.path, Path(to), task, class_name, mlflow)
            return self._new(to)

    def combine(
        self, other: "Model | Folder", to: Folder, *, same_classes: bool = False, test_data: Folder | None = None,
        mlflow: bool = True, verbose: bool = False,
    ) -> "Model":  # fmt: skip
        """Put this model and that of another site together, without an image of either.

        Args:
            other: a model from the same backbone; its new classes come behind those of this one.
            to: folder of the new run.
            same_classes: classes of the same name are the same; their images count together.
            test_data: test images of all classes, a folder for each; else those of earlier trainings are looked for.
            mlflow: record it in MLflow.
            verbose: print what `dynammo combine` prints.

        Returns:
            The new model; both others are left as they are.

        Raises:
            UserError: models that do not fit together, or a finished model in `to`.
        """
        from dynammo.lifecycle.commands import combine

        with as_guest(verbose):
            second = other.path if isinstance(other, Model) else Path(other)
            combine(self.path, second, Path(to), same_classes, mlflow, _path(test_data))
            return self._new(to)

    def export(
        self, to: Folder, *, images: Folder | None = None, intended_use: str | None = None, data_source: str = "",
        modality: str = "", data_license: Folder | None = None, onnx: bool = True, verbose: bool = False,
    ) -> "Exported":  # fmt: skip
        """Write a MONAI bundle that stands alone, as a folder and a zip, and check it against the run.

        Args:
            to: folder of the bundle; an earlier export there is replaced.
            images: folder of real images to check it with; None for those of the training.
            intended_use: a sentence for metadata and model card.
            data_source: where the training images came from.
            modality: of the images, such as dermoscopy, CR or MR.
            data_license: text file with the licence of the training images.
            onnx: write `model.onnx` too.
            verbose: print what comes up on the way.

        Returns:
            Folder, zip, version, how well all forms of the model agree, and what the bundle lacks.

        Raises:
            UserError: a folder that cannot be written, missing packages, or forms that do not agree.
        """
        from dynammo.export.export_run import ExportSettings, export_run

        about = {} if intended_use is None else {"intended_use": intended_use}
        settings = ExportSettings(
            images=_path(images), data_source=data_source, modality=modality, data_license=_path(data_license),
            onnx=onnx, **about,
        )  # fmt: skip
        with as_guest(verbose):
            return export_run(self.path, Path(to), settings)

    def _new(self, folder: Folder) -> "Model":
        return Model(Path(folder), self._settings)


def load(
    path: Folder | None = None,
    *,
    device: str = "auto",
    batch_size: int | None = None,
    low_confidence: float | None = None,
    engine: str = "auto",
) -> Model:
    """Load a trained model.

    Args:
        path: run, exported bundle or TorchScript file; None for the newest that `dynammo models` lists.
        device: such as cpu or cuda:0; auto for a GPU where there is one.
        batch_size: images of a pass, from 1. Every pass is filled up to it: 1 answers soonest about one image, None
            (16, on a GPU 64) gives the very digits of `dynammo classify`, from which others differ by rounding.
        low_confidence: probability, 0 to 1, below which a label is flagged; None for the limit of the model.
        engine: what computes, as `dynammo classify --engine`.

    Raises:
        UserError: no model there, a damaged or unfinished one, no such device or engine.
    """
    if low_confidence is not None and not 0 <= low_confidence <= 1:
        raise UserError(f"low_confidence is {low_confidence}; expected a number from 0 to 1.")
    size = "auto" if batch_size is None else str(batch_size)
    with as_guest():
        return Model(
            _path(path),
            ClassifySettings(device=device, batch_size=size, low_confidence=low_confidence, engine=engine),
        )


def train(folder: Folder, to: Folder | None = None, *, verbose: bool = False, **settings: Any) -> Model:  # noqa: ANN401
    """Learn the classes of a folder task by task; interrupted, the same call resumes.

    Args:
        folder: `train/<class>/` and `test/<class>/`; class folders alone, of whose images a fifth is split off for
            testing; or a data list (CSV or JSON).
        to: folder of the run; None for one below `runs/`, named after data and method.
        verbose: print what `dynammo train` prints.
        **settings: `method`, `classes_per_task` (a number, or a list of one for each task), `order` (`sorted`,
            `random`, or a list of all classes), `backbone`, `weights` (`imagenet` if left out), `recipe`, `seed`,
            `fresh`, `device` and `mlflow`, as `dynammo train --help` explains them; and any other setting of
            train.yaml, such as epochs and image_size.

    Returns:
        The new model; that of an earlier call where nothing has changed since.

    Raises:
        UserError: no images, one class alone, no such setting or value, weights that are not there, a run with other
            settings in `to`.
    """
    from dynammo.lifecycle.train import train as run
    from dynammo.lifecycle.training_plan import TrainSettings

    own = {field.name for field in fields(TrainSettings)} - {"values", "overlays"}
    for name, key in (("classes_per_task", "increments"), ("order", "class_order")):
        if isinstance(settings.get(name), list | tuple):
            settings[key] = list(settings.pop(name))
    chosen = {name: value for name, value in settings.items() if name in own}
    words = ("method", "classes_per_task", "weights", "recipe")
    texts: dict[str, Any] = {name: str(chosen[name]) for name in words if chosen.get(name) is not None}
    values = {name: value for name, value in settings.items() if name not in own}
    with as_guest(verbose):
        output = run(expanded(folder), _path(to), TrainSettings(**chosen | texts, values=values))
        return load(output, device=chosen.get("device", "auto"))


def compare(runs: Sequence[Folder | Model], to: Folder | None = None, *, verbose: bool = False) -> Comparison:
    """Put finished runs side by side that were tested on the same images.

    Args:
        runs: at least two, as models or as folders.
        to: folder for `comparison.png`, `comparison.csv` and `comparison.json`; None to write nothing.
        verbose: print the table.

    Raises:
        UserError: no finished run, one given twice, or runs that cannot be compared; it says what differs.
    """
    with as_guest(verbose):
        comparison = compare_runs([r.path if isinstance(r, Model) else expanded(r) for r in runs], _path(to))
        if verbose:
            print_comparison(comparison)
    return comparison


def _path(folder: Folder | None) -> Path | None:
    return None if folder is None else expanded(folder)
