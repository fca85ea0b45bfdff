"""`dynammo history`: what happened to a model, one line for each event."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from dynammo.errors import UserError
from dynammo.runs.record import Record, locate_model, read_history, read_record, refuse_other_files
from dynammo.runtime.plain import expanded, percent
from dynammo.runtime.terminal import Terminal

__all__ = ["history_of", "print_history"]

Entry = Mapping[str, Any]


def history_of(path: Path) -> Sequence[Entry]:
    """What happened to a run or an exported bundle, oldest first; of models without a history, what the record says.

    Raises:
        UserError: no model there, or damaged files.
    """
    located = locate_model(expanded(path))
    if located is None or located[0] == "torchscript":
        raise UserError(f"there is no run and no exported bundle in {path}; give --model the folder of one.")
    kind, weights = located
    if kind == "run":
        record, history = read_record(kind, weights), read_history(weights.parent)
        refuse_other_files(weights.parent, record)
        return history or _of_record(record)
    from dynammo.lifecycle.learning_state import LEARNING_FILE, exported_history  # imports MONAI, which takes seconds

    exported = weights.with_name(LEARNING_FILE)
    return (exported_history(exported) if exported.is_file() else []) or _of_record(read_record(kind, weights))


def print_history(path: Path) -> None:
    """Print the history as a table."""
    console = Terminal()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("when", "event", "classes", "images", "recall %", "sha256 of model.pt"):
        table.add_column(name, overflow="fold", justify="right" if name in ("images", "recall %") else "left")
    for entry in history_of(path):
        table.add_row(*_cells(entry))
    console.print(table)


def _cells(entry: Entry) -> Sequence[str]:
    number = f" {entry['task']}" if "task" in entry else ""
    site = f", site {entry['site']}" if "site" in entry else ""
    metrics = entry.get("metrics") or {}
    recall, measured, of = (metrics.get(name) for name in ("mean_class_recall", "measured_classes", "known_classes"))
    part = f"\n({measured} of {of} classes)" if recall is not None and measured != of else ""
    return [
        str(entry.get("when", "-"))[:16].replace("T", " "),
        f"{'task' + number + ' ' if number else ''}{entry.get('event', '-')}{site}",
        ", ".join(map(str, entry.get("classes", []))),
        str(sum(entry.get("images", {}).values()) or "-"),
        percent(recall if isinstance(recall, float | int) else None) + part,
        str((entry.get("sha256") or {}).get("model.pt", "-"))[:12],
    ]


def _of_record(record: Record) -> Sequence[Entry]:
    recalls = [result.get("mean_class_recall") for result in record.get("results", [])]
    return [
        {"event": "learnt", "task": number, "classes": classes, "metrics": {"mean_class_recall": recall}}
        for number, (classes, recall) in enumerate(zip(record.get("tasks", []), recalls, strict=False), start=1)
    ]
