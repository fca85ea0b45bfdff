"""What the parent run in MLflow says of a whole run: a description, the numbers of its images, its record."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag

from dynammo import NOTICE
from dynammo.errors import printable
from dynammo.networks.encoders import short_name
from dynammo.runs.record import measured_after
from dynammo.runtime.plain import percent
from dynammo.runtime.provenance import without_folders
from dynammo.training.metrics import TaskResult, summarise
from dynammo.training.trainer import IncrementalTrainer

__all__ = ["MOST_CHARACTERS", "datasets_of", "description_of", "markdown", "record_without_folders"]

MOST_CHARACTERS = 7500  # of a description; MLflow takes 8000
MOST_NAMES = 80  # characters of the classes of one task
HEADS = ("task", "classes", "when learnt %", "now %", "all classes seen %", "mean class recall %")
WITH_A_MEANING = re.compile(r"[\\`*_{}\[\]()#+\-.!|~=:>]")  # what markdown lets a backslash take the meaning from


def markdown(text: str) -> str:
    """A name of others as plain text in markdown, in one line: no link, no emphasis, no cell of a table, no HTML."""
    line = " ".join(printable(text).split())
    return WITH_A_MEANING.sub(r"\\\g<0>", line.replace("&", "&amp;").replace("<", "&lt;"))


def description_of(results: Sequence[TaskResult], tasks: Sequence[Sequence[str]], refused: bool = False) -> str:
    """Accuracy after every task as a table in markdown.

    Args:
        results: measures after each of T tasks.
        tasks: class names of each task, at least T.
        refused: whether the model was refused, since known classes lost too much.
    """
    names = {
        "last_accuracy": "all classes seen",
        "average_incremental_accuracy": "average over the tasks",
        "forgetting": "forgetting",
    }
    measures = summarise(list(results))
    said = ", ".join(f"{name} {percent(measures.get(key))} %" for key, name in names.items())
    found = measured_after(asdict(results[-1]))
    part = f" Measured on {found.classes} of {found.of} classes." if found.classes < found.of else ""
    lines = [
        *(["**Refused: the known classes lost too much.**", ""] if refused else []),
        f"Accuracy after {len(results)} of {len(tasks)} tasks: {said}.{part}",
        "",
        f"| {' | '.join(f'{head}&emsp;' for head in HEADS)} |",  # MLflow draws tables without space between columns
        "|---|---|---|---|---|---|",
    ]
    end, room = ["", NOTICE], MOST_CHARACTERS - len(NOTICE) - 100
    for number, result in enumerate(results):
        now = results[-1].task_accuracy[number]
        values = (result.task_accuracy[number], now, result.accuracy, result.mean_class_recall)
        row = f"| {number + 1} | {_names(tasks[number])}&emsp; | {' | '.join(map(percent, values))} |"
        if len("\n".join([*lines, row])) > room:
            end = ["", "All tasks: accuracy_matrix.csv below Artifacts.", *end]
            break
        lines.append(row)
    return "\n".join([*lines, *end])


def datasets_of(engine: IncrementalTrainer) -> list[DatasetInput]:
    """Numbers of the images to learn and to test, by class; no name of an image or a folder.

    The digest changes when an image comes, goes or is exchanged.
    """
    classes, digest = engine.tasks.classes, engine.data.digest()[:36]  # MLflow takes 36 characters
    found = []
    train = [item for task in engine.tasks for item in engine.data.train(task)]
    for name, context, items in (("train", "training", train), ("test", "testing", engine.data.test())):
        paths = {(item["path"], item["label"]) for item in items}  # several views may be of one image
        counts = Counter(classes[label] for _, label in paths)
        profile = {"num_rows": len(paths), "images": {name: counts[name] for name in classes if counts[name]}}
        dataset = Dataset(
            f"{name}: {len(paths)} images", digest, "local", "{}",
            profile=json.dumps(profile, ensure_ascii=False),
        )  # fmt: skip
        found.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    return found


def record_without_folders(folder: Path, key: str) -> dict[str, Any] | None:
    """`run.json` of the run `key` for others: of every setting that is a path the last part alone, as in its command.

    None where the folder holds none of this run.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        config = record["config"].items()
        if record["run"] != key:
            return None
    except (OSError, ValueError, KeyError):
        return None
    shortened = {name: without_folders(value) if isinstance(value, str) else value for name, value in config}
    encoder = record.get("network", {}).get("encoder")
    if encoder:
        encoder["name"] = short_name(encoder["name"])
    return {**record, "config": shortened}


def _names(task: Sequence[str]) -> str:
    shown = ", ".join(task)
    return markdown(shown if len(shown) <= MOST_NAMES else f"{len(task)}: {shown[:MOST_NAMES].rstrip(' ,')} …")
