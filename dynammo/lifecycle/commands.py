"""`dynammo learn`, `forget` and `combine`: a finished model in, a complete run in a new folder out."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

from dynammo.errors import UserError
from dynammo.lifecycle.change_report import MeasureChange
from dynammo.lifecycle.combine import combined
from dynammo.lifecycle.forget import labels_to_forget, without
from dynammo.lifecycle.in_process import chosen_device, explained, prepared_bundle
from dynammo.lifecycle.learning_state import LearntModel, load_learnt
from dynammo.runs.record import check_usable, learns_vectors, locate_model, read_record
from dynammo.runs.resume import UNFINISHED
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.files import write_json
from dynammo.runtime.plain import expanded
from dynammo.runtime.unfinished import work_folder

__all__ = ["LearnSettings", "combine", "forget", "learn"]

UNTAUGHT = "$[@continue_from, *@incremental#handlers]"  # the handlers of a model that changes without learning


@dataclass(frozen=True)
class LearnSettings:
    """How `learn` goes about it.

    Attributes:
        max_drop: percentage points of mean class recall that known classes may lose.
        test_data: folder with more test images.
        without_exemplars: continue without the images that the model kept.
        skip_unreadable: leave unreadable images out instead of refusing.
        overlays: config files over train.yaml, for what the record of the model does not hold: the augmentation.
        device: such as cpu or cuda:0; auto for a GPU where there is one.
        mlflow: record it in MLflow.
        json: file for a copy of the report.
        reviews: the `review.csv` of a report, whose corrected images are learnt.
        features: the data are a file of embeddings.
    """

    max_drop: float = 2.0
    test_data: Path | None = None
    without_exemplars: bool = False
    skip_unreadable: bool = False
    overlays: tuple[Path, ...] = ()
    device: str = "auto"
    mlflow: bool = True
    json: Path | None = None
    reviews: Path | None = None
    features: bool = False


def learn(model: Path, data: Path, output: Path, settings: LearnSettings | None = None) -> dict[str, Any]:
    """Teach a finished model the class folders in `data`; classes that it does not know become one next task.

    Interrupted, the same call resumes. A model whose known classes lost too much is moved aside, to
    `.<output>.refused`, where no command looks for models.

    Args:
        model: finished run or exported bundle; it is left as it is.
        data: class folders, or `train/` and `test/` with class folders; with `reviews` what was classified; a file of
            embeddings where the settings say so.
        output: folder of the new run; it must hold no finished one.
        settings: the defaults if left out.

    Returns:
        What `learning.json` says.

    Raises:
        UserError: anything that the user can mend, and known classes that lost more than `max_drop`.
    """
    settings = settings or LearnSettings()
    output = _new_folder(output)
    overrides = {
        "model_dir": str(model), "dataset_dir": str(data), "max_drop": settings.max_drop,
        "test_dir": str(settings.test_data) if settings.test_data else None,
        "reviews": str(settings.reviews) if settings.reviews else None,
        "without_exemplars": settings.without_exemplars, "skip_unreadable": settings.skip_unreadable,
        "mlflow": settings.mlflow, **chosen_device(settings.device),
        **({"features": str(data)} if settings.features else {}),
    }  # fmt: skip
    located = locate_model(expanded(model))
    if located and located[0] != "torchscript":  # which is refused with more words
        check_usable(read_record(*located), str(model), located[1].parent, settings.features)
    bundle = _bundle(output, overrides, settings.overlays, vectors=settings.features)
    explained(lambda: bundle.get_parsed_content("incremental#trainer").learn())
    change: MeasureChange = bundle.get_parsed_content("change")
    if settings.json:
        write_json(settings.json, change.report)
    try:
        change.check()
    except UserError as error:
        raise UserError(f"{error} The new model is kept aside in {_keep_refused(output)}.") from error
    return change.report


def forget(
    model: Path, output: Path, task: int | None = None, class_name: str | None = None, mlflow: bool = True
) -> LearntModel:
    """Write the model without a task (its number, from 1) or without a class as a new run.

    Raises:
        UserError: anything that the user can mend.
    """
    known = load_learnt(model)
    labels = labels_to_forget(known, task, class_name)
    return _record(lambda folder: without(known, labels, folder), output, mlflow)


def combine(
    first: Path,
    second: Path,
    output: Path,
    same_classes: bool = False,
    mlflow: bool = True,
    test_data: Path | None = None,
) -> LearntModel:
    """Write one model that knows the classes of two models from the same backbone as a new run.

    Args:
        first: finished run or exported bundle; its labels stay.
        second: another one.
        output: folder of the new run; it must hold no finished one.
        same_classes: classes of the same name are the same; their images count together.
        mlflow: record it in MLflow.
        test_data: folder with test images; those of earlier trainings are used for classes that it lacks.

    Raises:
        UserError: anything that the user can mend.
    """
    models = load_learnt(first), load_learnt(second)
    return _record(lambda folder: combined(*models, same_classes, folder), output, mlflow, test_data)


def _record(
    change: Callable[[Path], LearntModel], output: Path, mlflow: bool, test_data: Path | None = None
) -> LearntModel:
    """Write a changed model as a complete run: evaluated on the available test images, with every file."""
    output = _new_folder(output)
    with work_folder("dynammo-lifecycle-") as folder:
        model = change(folder)
        overrides = {
            "model": model, "mlflow": mlflow, "max_drop": 100.0, "test_dir": str(test_data) if test_data else None,
            "settings#dataset_dir": model.record["config"].get("dataset_dir"),
        }  # fmt: skip
        vectors = learns_vectors(model.record)
        bundle = _bundle(output, overrides, ours={"incremental#trainer#handlers": UNTAUGHT}, vectors=vectors)
        explained(lambda: bundle.get_parsed_content("incremental#trainer").learn())
    return model


def _bundle(
    output: Path,
    overrides: Mapping[str, Any],
    overlays: Sequence[Path] = (),
    ours: Mapping[str, str] | None = None,
    vectors: bool = False,
) -> ConfigParser:
    """train.yaml, overlays and increment.yaml with these values, and with config text of `ours`; checked and ready.

    Of `vectors` the configs of embeddings stand around increment.yaml.
    """
    for file in overlays:
        if not file.is_file():
            raise UserError(
                f"there is no config file {file}; give --overlay a YAML file, such as $(dynammo config xray)."
            )
    names = ("features.yaml", "increment.yaml", "feature_increment.yaml") if vectors else ("increment.yaml",)
    files = [bundle_config("train.yaml"), *overlays, *map(bundle_config, names)]
    return prepared_bundle(files, {"output_dir": output, **overrides}, ours)


def _new_folder(output: Path) -> Path:
    """A folder without a finished model; that of a learning that was interrupted will do."""
    output = expanded(output)
    if locate_model(output) is not None and not (output / UNFINISHED).is_file():
        raise UserError(f"{output} holds a finished model, which is not replaced; give --output another folder.")
    return output


def _keep_refused(output: Path) -> Path:
    kept, count = output.with_name(f".{output.name}.refused"), 1
    while kept.exists():
        kept, count = output.with_name(f".{output.name}.refused-{count}"), count + 1
    os.replace(output, kept)
    return kept
