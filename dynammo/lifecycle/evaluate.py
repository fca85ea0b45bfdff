"""`dynammo evaluate`: a trained model and test images in, its measures out, through the configs of the bundle."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dynammo.data.data_list import ImageRecord
from dynammo.data.exemplars import Item
from dynammo.data.feature_increments import IncrementFeatures
from dynammo.data.features import TaskFeatures, VectorReader
from dynammo.data.images import ImageSet, items_of
from dynammo.data.increments import IncrementImages, Source, class_images
from dynammo.data.tasks import TaskSequence
from dynammo.errors import UserError
from dynammo.inference.evaluators import PrintEvaluation, refuse_strangers
from dynammo.lifecycle.in_process import chosen_device, explained, prepared_bundle
from dynammo.lifecycle.learning_state import load_learnt, sources_of
from dynammo.runs.load import Model, load_model
from dynammo.runs.record import learns_vectors, locate_model
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.plain import expanded, percent
from dynammo.training.metrics import class_recalls

__all__ = ["Evaluation", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """What a model does on test images; shares are 0 to 1, NaN where there was no image.

    Attributes:
        images: number of test images; the slices of one volume count as one.
        accuracy: share of all images whose class was found.
        mean_class_recall: mean of the recalls of all classes that have images (balanced accuracy).
        recalls: share of the images of each class whose class was found, in the order of the model's classes.
        calibration_error: expected calibration error of the probabilities, 15 bins.
        confusion: (K, K) counts, rows are true classes, in the order of `recalls`.
    """

    images: int
    accuracy: float
    mean_class_recall: float
    recalls: Mapping[str, float]
    calibration_error: float
    confusion: tuple[tuple[int, ...], ...]

    def __str__(self) -> str:
        """What a person wants to know."""
        without = sum(math.isnan(recall) for recall in self.recalls.values())
        missing = f"; {without} of {len(self.recalls)} classes have no test image" if without else ""
        return (
            f"{self.images} images: accuracy {percent(self.accuracy)} %, "
            f"mean class recall {percent(self.mean_class_recall)} %{missing}"
        )


def evaluate(
    model: Path | None,
    data: Path | None = None,
    output: Path | None = None,
    skip_unreadable: bool = False,
    device: str = "auto",
    batch_size: int = 32,
) -> Evaluation:
    """Measure a model on test images, print the measures, write `evaluation.json`.

    Args:
        model: run, exported bundle or TorchScript file; None for the newest.
        data: class folders, `test/` with class folders, or a data list (CSV or JSON, paths from its own folder on), of
            which the rows of split test count; a file of embeddings; None for what the run was measured on before.
        output: folder of `evaluation.json`, made if need be; None to write nothing.
        skip_unreadable: leave unreadable images out and say so, instead of refusing.
        device: such as cpu or cuda:0; auto for a GPU where there is one.
        batch_size: images of a pass.

    Raises:
        UserError: no model, no test image, a class that the model has not learnt, unreadable images, no such device.
    """
    loaded = load_model(model, None)
    vectors = learns_vectors(loaded.record)
    items, transform = _vectors(loaded, data) if vectors else (_items(loaded, data, skip_unreadable), None)
    values = {
        "model": loaded, "dataset#data": items, "batch_size": batch_size, "handlers#0#output_dir": output,
        **chosen_device(device), **({} if transform is None else {"preprocessing": transform}),
    }  # fmt: skip
    bundle = prepared_bundle([bundle_config("inference.yaml"), bundle_config("evaluate.yaml")], values)
    handlers: list[PrintEvaluation] = explained(lambda: bundle.get_parsed_content("handlers"))
    explained(lambda: bundle.get_parsed_content("evaluator").run())
    result = handlers[0].result
    if result is None:  # the evaluator calls it at its end
        raise RuntimeError("the evaluation ended without a result")
    recalls = dict(zip(loaded.record["classes"], class_recalls(result.confusion).tolist(), strict=True))
    images = sum(map(sum, result.confusion))
    return Evaluation(images, result.accuracy, result.mean_class_recall, recalls, result.ece, result.confusion)


def _items(model: Model, data: Path | None, skip_unreadable: bool) -> list[Item]:
    recipe, classes = model.record["config"]["recipe"], list(model.record["classes"])
    slices = recipe["spatial_dims"] == 2 and recipe["volumes"] == "slices"
    if data is None:
        records = IncrementImages(None, classes, earlier=_sources(model), slices=slices).records
    else:
        records = _given(expanded(data), skip_unreadable, slices)
    if not records:
        raise UserError(
            f"no test image of {model.name} was found; give a folder with a folder of images for each class."
        )
    refuse_strangers({record.class_name for record in records}, classes)
    return [item for record in records for item in items_of(record, classes.index(record.class_name))]


def _vectors(model: Model, data: Path | None) -> tuple[list[Item], VectorReader]:
    classes = list(model.record["classes"])
    earlier = _sources(model) if data is None else []
    given = IncrementFeatures(None, classes, model.record, data, earlier)
    if not given.records:
        raise UserError(f"no test vector of {model.name} was found; give a file of embeddings with labels.")
    tasks = TaskSequence(classes, "all", classes)
    return TaskFeatures(given, tasks).test(), VectorReader(given)


def _sources(model: Model) -> list[Source]:
    """Where the test images lie that a run was measured on."""
    if model.kind != "run":
        raise UserError(
            f"{model.name} is no run, so it does not tell where its test images lie; give a folder with a folder of "
            "images for each class."
        )
    located = locate_model(model.path)
    if located and located[1].with_name("checkpoint.pt").is_file():
        return [*sources_of(load_learnt(model.path))]
    config = model.record["config"]  # of a copy without what learning on needs
    folder = config.get("dataset_dir")
    first: dict[str, Any] = {"dataset_dir": folder, "data_list": config.get("data_list")}
    if config.get("features"):
        first |= {"features": config["features"], "seed": config.get("seed", 0)}
    return [first] if folder else []


def _given(data: Path, skip_unreadable: bool, slices: bool) -> list[ImageRecord]:
    if data.is_file():
        records = ImageSet(data.parent, data, skip_unreadable=skip_unreadable, slices=slices).records
        return [record for record in records if record.split == "test"]
    if not data.is_dir():
        raise UserError(f"there is no folder {data}; give a folder with a folder of images for each class.")
    return class_images(data / "test" if (data / "test").is_dir() else data, "test", skip_unreadable, slices)
