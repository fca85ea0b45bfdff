"""What MONAI Label calls to train: labels given in Label become the next task of the model that is served."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from monailabel.interfaces.tasks.train import TrainTask

from lib.bundle_checks import BundleFault, check_bundle
from lib.commands import CommandFailed, dynammo_command, run_command
from lib.labels import Plan, link_images, plan, read_labels
from lib.served import add_bundle, new_aside, remove, serve, served_bundle, stale_folders

__all__ = ["Learn", "NotLearnt"]

Json = dict[str, Any]
RUN_IDS = ("increment", "training", "run", "")  # all do the same; the last two are what viewers send unasked
RUN, REPORT = "run", "learning.json"
LEARNT = "learnt.json"  # in the folder of a bundle: sha256 of the images that were learnt in Label, and their classes


class NotLearnt(RuntimeError):
    """There is no new model; the message says why, for people."""


class Learn(TrainTask):  # type: ignore[misc]
    """Teaches the served bundle the labels of the datastore, by `dynammo learn` and `dynammo export`.

    A label that the model does not know becomes a new class, all new ones of one training one task; images of known
    classes update what the model knows of those. Every image is learnt once. The new bundle is served only when it
    was checked and has forgotten little.

    Args:
        app: folder of the app.
        model: folder `model/NAME` of the app.
        conf: of the server: `dynammo`, `max_drop`, `test_data`.
    """

    def __init__(self, app: Path, model: Path, conf: dict[str, str]) -> None:
        super().__init__("Learns classes from labels given here, as the next task")
        self._app, self._model, self._conf = app, model, conf

    def config(self) -> Json:
        """Options that viewers show, with their defaults."""
        return {"run_id": list(RUN_IDS[:2]), "max_drop": float(self._conf.get("max_drop", 2.0)), "val_split": 0.2}

    def __call__(self, request: Json, datastore: Any) -> Json:  # noqa: ANN401  Label has many datastores
        """Learn, export, check and serve.

        Args:
            request: `run_id` increment; `max_drop`, the most percentage points of mean class recall that old classes
                may lose; `val_split`, the share of new images that are kept for testing, 0 to less than 1.
            datastore: where the final labels are.

        Returns:
            `served` (whether the new model is), `classes`, `version`, `images` and `test_images` of each class,
            `learning` (the report of `dynammo learn`), and `reason` where it is not served.

        Raises:
            NotLearnt: nothing to learn, a bad request, a training that runs already, or a command that failed.
        """
        share, max_drop = self._options(request)
        try:
            with FileLock(self._model / ".lock", timeout=0):
                remove(*stale_folders(self._model))
                aside = new_aside(self._model)
                try:
                    return self._learn(aside, datastore, share, max_drop)
                finally:
                    remove(aside)
        except Timeout as error:
            raise NotLearnt("a training of this model runs already; wait for its end: GET /train/.") from error
        except (BundleFault, CommandFailed, ValueError) as error:
            raise NotLearnt(str(error)) from error
        except OSError as error:
            raise NotLearnt(f"files cannot be written ({error.strerror}); free disk space and train again.") from error

    def _options(self, request: Json) -> tuple[float, float]:
        values = {name: _first(request.get(name, default)) for name, default in self.config().items()}
        if values["run_id"] not in RUN_IDS:
            raise NotLearnt(f"run_id is {values['run_id']!r}; expected increment.")
        try:
            share, max_drop = max(0.0, float(values["val_split"])), float(values["max_drop"])
        except (TypeError, ValueError) as error:
            raise NotLearnt("val_split and max_drop must be numbers, such as 0.2 and 2.0.") from error
        if not share < 1 or not max_drop >= 0:
            raise NotLearnt("expected val_split from 0 to less than 1 and max_drop from 0.")
        return share, max_drop

    def _learn(self, aside: Path, datastore: Any, share: float, max_drop: float) -> Json:  # noqa: ANN401
        before = served_bundle(self._model)
        record, metadata = check_bundle(before, whole=True)
        learnt: dict[str, str] = _json(before / LEARNT) or {}
        labelled, faults = read_labels((Path(pair["image"]), Path(pair["label"])) for pair in datastore.datalist())
        fixed = _fixed_classes(before, record)
        chosen = plan(labelled, learnt, share, record["classes"], fixed)
        if not chosen.train:
            raise NotLearnt(_nothing_new(chosen, faults, fixed))
        link_images(chosen, aside / "images")
        status, said = run_command(self._learn_command(before, aside, max_drop))
        report = _json(aside / REPORT)
        if report is None:
            raise NotLearnt(f"dynammo learn failed: {said}")
        answer = {**chosen.counts(), "unusable_labels": faults, "relabelled": chosen.relabelled, "learning": report}
        if status:
            return {"served": False, "reason": _refusal(report), "classes": record["classes"], **answer}
        return {**self._export(aside, before, metadata, chosen, learnt), **answer}

    def _learn_command(self, before: Path, aside: Path, max_drop: float) -> list[str | Path]:
        model = before / RUN if (before / RUN).is_dir() else before
        words: list[str | Path] = [*dynammo_command(self._app, self._conf), "learn", "--model", model]
        words += [
            "--input",
            aside / "images",
            "-o",
            aside / RUN,
            "--report",
            aside / REPORT,
            "--max-drop",
            str(max_drop),
        ]
        words += ["--skip-unreadable", "--without-exemplars", "--no-mlflow"]
        return words + (["--test-data", self._conf["test_data"]] if "test_data" in self._conf else [])

    def _export(self, aside: Path, before: Path, metadata: Json, chosen: Plan, learnt: dict[str, str]) -> Json:
        """Export the run over a copy of the bundle before, which keeps its changelog, check and serve it."""
        made = aside / self._model.name
        shutil.copytree(before, made, ignore=shutil.ignore_patterns(RUN))
        words: list[str | Path] = [
            *dynammo_command(self._app, self._conf),
            "export",
            "--model",
            aside / "run",
            "-o",
            made,
        ]
        words += ["--images", aside / "images"]
        for option in ("intended_use", "data_source"):
            words += [f"--{option.replace('_', '-')}", metadata[option]] if metadata.get(option) else []
        licence = before / "docs" / "data_license.txt"
        words += ["--data-license", licence] if licence.is_file() else []
        words += [] if (before / "models" / "model.onnx").is_file() else ["--no-onnx"]
        status, said = run_command(words)
        if status:
            raise NotLearnt(f"dynammo export failed: {said}")
        record, about = check_bundle(made, whole=True)
        learnt = learnt | {entry.sha256: entry.name for entry in chosen.train}
        (made / LEARNT).write_text(json.dumps(learnt, ensure_ascii=False), encoding="utf-8")
        shutil.copy(aside / REPORT, made / "docs")
        os.replace(aside / RUN, made / RUN)
        number = add_bundle(self._model, made)
        serve(self._model, number)
        return {"served": True, "bundle": number, "classes": record["classes"], "version": about.get("version")}


def _first(value: Any) -> Any:  # noqa: ANN401
    """Viewers send a list of choices, the chosen one first."""
    return value[0] if isinstance(value, list) and value else value


def _json(file: Path) -> Any:  # noqa: ANN401
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def _fixed_classes(bundle: Path, record: Json) -> list[str]:
    """Known classes that closed-form heads cannot be taught more of: what their task contributed was not kept."""
    if record["config"].get("head_layout") != "analytic":
        return []
    kept = bundle / RUN / "tasks"
    tasks = enumerate(record["tasks"], start=1)
    return [name for number, names in tasks if not (kept / f"{number}.pt").is_file() for name in names]


def _nothing_new(chosen: Plan, faults: int, fixed: list[str]) -> str:
    sentence = "there is no new image with a final label to learn"
    if faults:
        sentence += f"; {faults} label files name no class"
    if fixed and chosen.test:
        sentence += (
            f"; images of {', '.join(fixed)} are only tested with, since the app has no run of these classes: write it "
            "anew with dynammo label-app --run RUN to learn from them"
        )
    return f'{sentence}; save labels as JSON, {{"label": "NV"}}, with PUT /datastore/label?image=ID&tag=final.'


def _refusal(report: Json) -> str:
    return (
        f"known classes lost {report['lost_points']:.1f} points of mean class recall, more than "
        f"{report['max_drop']:g}; label more images of them, or train with a larger max_drop to accept that."
    )
