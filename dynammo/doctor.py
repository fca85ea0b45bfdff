"""`dynammo doctor`: what is there, what would fail and what to type, on one screen."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dynammo.errors import UserError
from dynammo.installation import Check, State, check_decoders, check_extras, check_packages, check_python
from dynammo.machine_checks import check_disk, check_memory, check_torch, check_variables
from dynammo.runs.find import VARIABLE, ModelInfo, default_model, find_models, named_roots, short_path
from dynammo.runs.record import read_record
from dynammo.runtime.bundle_files import bundle_config

__all__ = ["run_doctor"]

NOTICE = "Research software. Not a medical device."
COLOURS: dict[State, str] = {"ok": "green", "missing": "yellow", "fails": "red"}
ARCHITECTURES = ("resnet18", "resnet34", "resnet50")


def run_doctor() -> int:
    """Print one line for everything looked at.

    No name of a user is printed: paths only below the working directory, and of variables only whether they are set.

    Returns:
        0 where images would be classified, 1 where something fails.
    """
    checks: list[Check] = [check_python(), *check_packages(), check_torch(), *check_decoders(), *check_extras()]
    checks += [check_configs(), *check_models(), check_weights(), check_disk(), check_memory(), check_variables()]
    console = Console(highlight=False)
    console.print(_table(checks))
    fails = sum(check.state == "fails" for check in checks)
    if fails:
        what = "1 line fails" if fails == 1 else f"{fails} lines fail"
        console.print(f"Classification would not work: {what}; do what stands there.")
    else:
        console.print("Classification would work: dynammo classify -i FOLDER -o RESULTS")
    console.print(NOTICE)
    return 1 if fails else 0


def check_configs() -> Check:
    """The configs of the bundle, which say how images are prepared."""
    try:
        for name in ("inference.yaml", "train.yaml"):
            bundle_config(name)
    except UserError as error:
        return Check("bundle configs", "fails", str(error).rstrip("."))
    return Check("bundle configs", "ok", "inference.yaml, train.yaml")


def check_models() -> list[Check]:
    """The model that would be taken, how many there are, and folders that are named in vain."""
    models = find_models()
    checks = [_check_default(models)]
    if len(models) > 1:
        unusable = sum(bool(model.fault) for model in models)
        bad = f", {unusable} of them cannot be used" if unusable else ""
        checks.append(Check("models", "ok", f"{len(models)} are there{bad}: dynammo models; choose with --model"))
    lost = sum(not root.is_dir() for root in named_roots())
    if lost:
        words = "1 of its folders is" if lost == 1 else f"{lost} of its folders are"
        checks.append(Check(VARIABLE, "missing", f"{words} not there: set it anew"))
    return checks


def check_weights() -> Check:
    """ImageNet weights in the cache of torch; training wants them unless told otherwise, classification does not."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch"
    folder = Path(home).expanduser() / "hub" / "checkpoints"  # where torch.hub looks; importing it takes seconds
    found = [name for name in ARCHITECTURES if any(folder.glob(f"{name}-*.pth"))]
    if found:
        return Check("ImageNet weights", "ok", f"{', '.join(found)} in hub/checkpoints of torch's cache")
    return Check(
        "ImageNet weights",
        "missing",
        "none in hub/checkpoints of torch's cache, for training alone: a training fetches them, or type --weights FILE",
    )


def _check_default(models: Sequence[ModelInfo]) -> Check:
    """The model that is taken, its weights compared with its record."""
    try:
        model = default_model(models)
    except UserError as error:
        if models:
            return Check("model", "fails", "none of those there can be used, dynammo models says why: make demo")
        return Check("model", "fails", str(error).rstrip("."))
    known = read_record(model.kind, model.weights).get("files", {}) if model.kind != "torchscript" else {}
    try:
        from dynammo.runtime.files import sha256

        damaged = model.weights.name in known and sha256(model.weights) != known[model.weights.name]
    except (ImportError, OSError):  # no PyTorch, which has its own line
        damaged = False
    below = model.path.resolve().is_relative_to(Path.cwd())
    name = short_path(model.path) if below else model.path.resolve().name
    if damaged:
        return Check("model", "fails", f"{name}: model.pt is not the file of its run.json; copy both, or train again")
    trained = f", trained {model.finished:%Y-%m-%d}" if model.finished else ""
    recall = "" if math.isnan(model.mean_class_recall) else f", recall {100 * model.mean_class_recall:.0f} %"
    return Check("model", "ok", f"{name} ({model.kind}): {len(model.classes)} classes{recall}{trained}")


def _table(checks: list[Check]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        colour = COLOURS[check.state]
        table.add_row(escape(check.name), f"[{colour}]{check.state}[/]", escape(check.detail))
    return table
