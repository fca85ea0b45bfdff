"""`dynammo doctor`: what is there, what would fail and what to type, on one screen."""

import os
import platform
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from rich.table import Table
from rich.text import Text

from dynammo import NOTICE
from dynammo.errors import UserError
from dynammo.runs.find import VARIABLE, ModelInfo, default_model, find_models, named_roots, short_path
from dynammo.runs.record import read_record
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.plain import expanded, usable_memory
from dynammo.runtime.terminal import Terminal

__all__ = [
    "Check",
    "State",
    "check_decoders",
    "check_disk",
    "check_extras",
    "check_memory",
    "check_packages",
    "check_python",
    "check_torch",
    "check_variables",
    "look_around",
    "print_checks",
]

State = Literal["ok", "missing", "fails"]
SHOWN = ("torch", "monai", "pydicom", "pillow", "nibabel")  # with their versions; the others are counted
EXTRAS = {  # what an extra is for; those of developers are not spoken of
    "clinic": "DICOM structured reports",
    "slides": "whole slides",
    "serve": "page to drop images on",
    "hdf5": "embeddings of slides",
}
COMPRESSED = {  # names of transfer syntaxes in pydicom.uid, one for each decoder, and what brings it
    "RLE": ("RLELossless", "pylibjpeg pylibjpeg-rle"),
    "JPEG": ("JPEGBaseline8Bit", "pillow"),
    "JPEG 12 bit": ("JPEGExtended12Bit", "python-gdcm"),
    "JPEG lossless": ("JPEGLosslessSV1", "python-gdcm"),
    "JPEG-LS": ("JPEGLSLossless", "pyjpegls"),
    "JPEG 2000": ("JPEG2000", "pylibjpeg pylibjpeg-openjpeg"),
    "HTJ2K": ("HTJ2K", "pylibjpeg pylibjpeg-openjpeg"),
}


@dataclass(frozen=True)
class Check:
    """One line of the screen.

    Attributes:
        name: what was looked at.
        state: ok; missing, something cannot be done; fails, nothing can be classified.
        detail: what was found, or what to type.
    """

    name: str
    state: State
    detail: str


def check_python() -> Check:
    """Python and dynammo itself."""
    here = platform.python_version()
    try:
        wanted = Requirement(f"python{metadata('dynammo')['Requires-Python']}")
    except PackageNotFoundError:
        return Check("Python", "fails", f"{here}; dynammo is not installed: pip install -e . in its folder")
    if here not in wanted.specifier:
        return Check("Python", "fails", f"{here}; needed is {wanted.specifier}: make PYTHON=python3.12")
    return Check("Python", "ok", f"{here}, dynammo {version('dynammo')}")


def check_packages() -> list[Check]:
    """Packages without which nothing is classified: the main ones, the faulty ones, and how many others are there."""
    needed = [r for r in _requirements() if r.marker is None or r.marker.evaluate({"extra": ""})]
    unmet = [r for r in needed if _unmet(r)]
    shown = [f"{r.name} {version(r.name)}" for r in needed if r.name in SHOWN and r not in unmet]
    others = len(needed) - len(unmet) - len(shown)
    found = Check("packages", "ok", f"{', '.join(shown)} and {others} others")
    return [found, *(Check(r.name, "fails", _how_to_mend([r])) for r in unmet)]


def check_extras() -> list[Check]:
    """Extras: packages that some commands need."""
    checks = []
    for extra, purpose in EXTRAS.items():
        wanted = [r for r in _requirements() if r.marker and _is_of(r, extra)]
        if not wanted:
            continue
        unmet = [r for r in wanted if _unmet(r)]
        detail = (
            f"for that: {_how_to_mend(unmet)}" if unmet else ", ".join(f"{r.name} {version(r.name)}" for r in wanted)
        )
        checks.append(Check(purpose, "missing" if unmet else "ok", detail))
    return checks


def check_decoders() -> list[Check]:
    """Which compressed DICOM images can be decoded by one of the plug-ins at least."""
    try:
        import gdcm  # type: ignore[import-untyped]  # noqa: F401
        from PIL import Image  # noqa: F401
        from pydicom import uid
        from pydicom.pixels import get_decoder
    except ImportError as error:
        package = {"gdcm": "python-gdcm", "PIL": "pillow"}.get(str(error.name), str(error.name))
        return [Check("DICOM", "fails", f"images cannot be read without {package}: pip install {package}")]
    lacking = {}
    for name, (keyword, packages) in COMPRESSED.items():
        if not get_decoder(getattr(uid, keyword)).is_available:
            lacking[name] = packages
    there = ", ".join(["uncompressed", *(name for name in COMPRESSED if name not in lacking)])
    missing = [
        Check(f"DICOM {name}", "missing", f"such images cannot be read: pip install {packages}")
        for name, packages in lacking.items()
    ]
    return [Check("DICOM decoders", "ok", there), *missing]


def _requirements() -> list[Requirement]:
    found = []
    try:
        lines = requires("dynammo") or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        try:
            found.append(Requirement(line))
        except InvalidRequirement:
            continue
    return found


def _is_of(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _unmet(requirement: Requirement) -> bool:
    try:
        return not requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return True


def _how_to_mend(requirements: Iterable[Requirement]) -> str:
    return "pip install " + " ".join(f'"{r.name}{r.specifier}"' if r.specifier else r.name for r in requirements)


LEAST_DISK = 200e6  # bytes: results of some thousand images
LEAST_MEMORY = 2e9  # bytes: the network, MONAI and a batch
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "MLFLOW_DISABLE_TELEMETRY",
    "MLFLOW_TRACKING_URI",
    "OMP_NUM_THREADS",
    "TORCH_HOME",
)


def check_torch() -> Check:
    """Whether PyTorch can be imported, and what it computes on."""
    try:
        import torch
    except (ImportError, OSError) as error:  # a library of it that does not fit the machine
        reason = type(error).__name__
        return Check(
            "computes on", "fails", f"PyTorch cannot be imported ({reason}): pip install --force-reinstall torch"
        )
    threads = torch.get_num_threads()
    processor = f"{threads} {'thread' if threads == 1 else 'threads'} of the processor"
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("computes on", "ok", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    if torch.version.cuda and shutil.which("nvidia-smi"):  # it comes with the driver: there should be a GPU
        return Check("computes on", "missing", f"{processor}; no GPU is found, see whether nvidia-smi finds one")
    if torch.version.cuda:
        return Check("computes on", "ok", f"{processor}; no GPU is found")
    return Check("computes on", "ok", f"{processor}; this PyTorch is made for processors alone")


def check_disk() -> Check:
    """Whether results can be written into the working directory."""
    try:
        with tempfile.TemporaryFile(dir="."):
            pass
        free = shutil.disk_usage(".").free
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return Check("working folder", "fails", f"cannot be written ({reason}): cd to a folder of yours")
    if free < LEAST_DISK:
        return Check(
            "working folder", "fails", f"only {free / 1e6:.0f} MB are free: delete files or cd to another disk"
        )
    return Check("working folder", "ok", f"can be written, {free / 1e9:.0f} GB free")


def check_memory() -> Check:
    """Cores and memory that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    words = f"{cores} {'core' if cores == 1 else 'cores'}"
    memory = usable_memory()
    if memory is None:
        return Check("machine", "ok", words)
    detail = f"{words}, {memory / 2**30:.1f} GiB memory"
    if memory < LEAST_MEMORY:
        return Check("machine", "missing", f"{detail}: too little for large images, type --batch-size 1 --workers 0")
    return Check("machine", "ok", detail)


def check_variables() -> Check:
    """Variables of the environment that matter, by name alone."""
    ours = {name for name in os.environ if name.startswith("DYNAMMO_")}
    names = sorted(ours | {name for name in VARIABLES if os.environ.get(name)})
    telemetry = os.environ.get("MLFLOW_DISABLE_TELEMETRY", "").lower() not in ("true", "1")
    note = "; MLflow reports usage to its makers, unset MLFLOW_DISABLE_TELEMETRY to stop that" if telemetry else ""
    return Check("variables set", "ok", (", ".join(names) or "none") + note)


COLOURS: dict[State, str] = {"ok": "green", "missing": "yellow", "fails": "red"}
ARCHITECTURES = ("resnet18", "resnet34", "resnet50")


def look_around() -> list[Check]:
    """Look at everything.

    No name of a user is told: paths only below the working directory, and of variables only whether they are set.
    """
    checks: list[Check] = [check_python(), *check_packages(), check_torch(), *check_decoders(), *check_extras()]
    return [*checks, check_configs(), *check_models(), check_weights(), check_disk(), check_memory(), check_variables()]


def print_checks(checks: Sequence[Check]) -> None:
    """Print one line for each, and whether images would be classified: where none of them fails."""
    console = Terminal()
    console.print(_table(checks))
    fails = sum(check.state == "fails" for check in checks)
    if fails:
        what = "1 line fails" if fails == 1 else f"{fails} lines fail"
        console.print(f"Classification would not work: {what}; do what stands there.")
    else:
        console.print("Classification would work: dynammo classify -i FOLDER -o RESULTS")
    console.print(NOTICE)


def check_configs() -> Check:
    """The configs of the bundle, which say how images are prepared."""
    names = ("inference.yaml", "preprocessing.yaml", "train.yaml")
    try:
        for name in names:
            bundle_config(name)
    except UserError as error:
        return Check("bundle configs", "fails", str(error).rstrip("."))
    return Check("bundle configs", "ok", ", ".join(names))


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
    folder = expanded(home) / "hub" / "checkpoints"  # where torch.hub looks; importing it takes seconds
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
    recall = "" if model.measured is None or model.measured.recall is None else f", recall {model.measured}"
    return Check("model", "ok", f"{name} ({model.kind}): {len(model.classes)} classes{recall}{trained}")


def _table(checks: Sequence[Check]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        colour = COLOURS[check.state]
        table.add_row(check.name, Text(check.state, style=colour), check.detail)
    return table
