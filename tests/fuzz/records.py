"""Damage records, lists, exports and zips and load them: each is read or ends in a sentence, and no code runs.

Type `python tests/fuzz/records.py --count 2000` from the repository root. The files are those of tiny runs and of an
export; what is loaded, is loaded in a process of its own (`readers.py`), in which a payload would leave a trace.
"""

import copy
import io
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))  # where pytest looks, too

from fuzz.readers import damaged, fuzz_with, main

from dynammo.data.images import ImageSet
from dynammo.data.preprocessing import preprocessing_of
from dynammo.errors import UserError
from dynammo.export.bundle_configs import standalone_inference
from dynammo.export.bundle_metadata import metadata
from dynammo.export.export_run import DESCRIBED, _changelog, _shareable
from dynammo.export.monai_label_app.lib.bundle_checks import BundleFault, check_bundle
from dynammo.io.studies import find_studies
from dynammo.lifecycle.history import print_history
from dynammo.lifecycle.learning_state import load_learnt
from dynammo.runs.find import find_models
from dynammo.runs.load import load_model
from dynammo.runs.record import check_tasks
from dynammo.runs.resume import check_unfinished
from dynammo.runtime.config import inert
from dynammo.runtime.files import sha256

OLD = Path(__file__).parents[1] / "lifecycle" / "from_0_1_0"
RUN, BUNDLE, TRACE = Path("dynammo"), Path("exported_classification"), Path("ran")
CODE = f"__import__('os').mkdir({str(TRACE)!r})"
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 10**9, 10**400, 1e308, float("nan"), "", " ", "\x00", "\ud800", "../../x", "=cmd|' /C calc'!A0",
    [], {}, [[]],
    f"${CODE}", "@rest", "%run", "_target_", "a::b", {"_target_": "os.mkdir", "path": str(TRACE)}, [f"${CODE}"],
    {f"${CODE}": 1}, "x" * 100_000, [0] * 10_000, ...,
)  # fmt: skip


def bundle_loads() -> None:
    """A bundle as `classify`, `export` and `label-app` take it."""
    model = load_model(BUNDLE)
    check_tasks(model.record, "it", DESCRIBED)
    preprocessing_of(model.record)
    record = _shareable(model.record)
    inert(metadata(record, "name", _changelog(BUNDLE, model)))
    standalone_inference(record)


def label_checks() -> None:
    """A bundle as the app for MONAI Label takes it."""
    try:
        check_bundle(BUNDLE)
    except BundleFault as fault:
        raise UserError(str(fault)) from fault


def lists() -> None:
    """A data list, and the same file as a list of paths."""
    for name in ("list.json", "list.csv"):
        if Path(name).is_file():
            ImageSet("images", name)


TARGETS: dict[str, tuple[Path, Callable[[], object]]] = {
    "bundle record": (BUNDLE / "models/run.json", bundle_loads),
    "bundle metadata": (BUNDLE / "configs/metadata.json", bundle_loads),
    "label metadata": (BUNDLE / "configs/metadata.json", label_checks),
    "label record": (BUNDLE / "models/run.json", label_checks),
    "bundle learning": (BUNDLE / "models/learning.pt", lambda: load_learnt(BUNDLE)),
    "bundle weights": (BUNDLE / "models/model.pt", bundle_loads),
    "torchscript": (BUNDLE / "models/model.ts", lambda: load_model(BUNDLE / "models/model.ts")),
    "run record": (RUN / "run.json", lambda: (load_learnt(RUN), find_models([RUN]))),
    "run weights": (RUN / "model.pt", lambda: load_model(RUN)),
    "run checkpoint": (RUN / "checkpoint.pt", lambda: load_learnt(RUN)),
    "history": (RUN / "tasks/history.json", lambda: print_history(RUN)),
    "unfinished": (Path("begun/unfinished.json"), lambda: check_unfinished("begun", {"seed": 0})),
    "list json": (Path("list.json"), lists),
    "list csv": (Path("list.csv"), lists),
    "paths": (Path("paths.txt"), lambda: find_studies("paths.txt", "unpacked")),
    "zip": (Path("images.zip"), lambda: find_studies("images.zip", "unpacked")),
}


def make_seeds(folder: Path) -> None:
    """Whole files of every kind in a folder."""
    for name in (RUN, BUNDLE):
        with zipfile.ZipFile(OLD / f"{name}.zip") as archive:
            archive.extractall(folder)
    rows = []
    for number in range(6):
        file = folder / "images" / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 40 * number, np.uint8)).save(file)
        rows.append(
            {
                "path": file.name,
                "label": "ab"[number % 2],
                "split": ("train", "test")[number // 4],
                "group": str(number),
            }
        )
    (folder / "list.json").write_text(json.dumps(rows))
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (folder / "list.csv").write_text("\n".join(lines))
    (folder / "paths.txt").write_text("\n".join(f"images/{row['path']}" for row in rows))
    shutil.make_archive(str(folder / "images"), "zip", folder / "images")
    (folder / "begun").mkdir()
    about = {"key": "a", "settings": {"seed": 0}, "tasks": [["a"], ["b"]], "images": "0" * 64}
    (folder / "begun" / "unfinished.json").write_text(json.dumps(about))


def _places(value: object, start: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if start:
        yield start
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield from _places(item, (*start, key))


def changed(text: bytes, random: np.random.Generator) -> bytes:
    """JSON with one to three other values, or other keys beside one; `...` takes a value out."""
    record = json.loads(text)
    for _ in range(int(random.integers(1, 4))):
        places = list(_places(record))
        if not places:
            break
        *way, last = places[int(random.integers(len(places)))]
        holder: Any = record
        for part in way:
            holder = holder[part]
        value = copy.deepcopy(VALUES[int(random.integers(len(VALUES)))])
        key = (
            last
            if isinstance(holder, list) or random.random() < 0.8
            else str(random.choice(["_target_", "_mode_", "x#y", "$x", "$" + CODE]))
        )
        if value is ...:
            holder.pop(last)
        else:
            holder[key] = value
    return json.dumps(record).encode()


def repacked(content: bytes, random: np.random.Generator) -> bytes:
    """A zip whose members are damaged, but whose checksums are right."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(stream, "w") as target:
        victim = source.namelist()[int(random.integers(len(source.namelist())))]
        victim = (
            next((n for n in source.namelist() if n.endswith("data.pkl")), victim) if random.random() < 0.5 else victim
        )
        for info in source.infolist():
            data = source.read(info)
            if info.filename == victim and data:
                data = damaged(data, random)
            name = (
                info.filename
                if random.random() < 0.98
                else str(random.choice(["../../up", "/outside/x", "$x", "a\\b"]))
            )
            target.writestr(name, data, info.compress_type)
    return stream.getvalue()


def inputs(count: int, seed: int, folder: Path) -> Iterator[tuple[str, bytes]]:
    """`count` damaged files, kind by kind in turns; the kind stands in front of the content."""
    make_seeds(folder)
    random, names = np.random.default_rng(seed), list(TARGETS)
    for number in range(count):
        name = names[number % len(names)]
        content = (folder / TARGETS[name][0]).read_bytes()
        structured = random.random() < 0.8
        if structured and TARGETS[name][0].suffix == ".json":
            content = changed(content, random)
        elif structured and content[:2] == b"PK":
            content = repacked(content, random)
        else:
            content = damaged(content, random)
        yield name, name.encode() + b"\n" + content


class Loader:
    """Puts a damaged file in the place of the whole one, loads it, and puts the whole one back."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="fuzz_"))
        make_seeds(self.folder)
        os.chdir(self.folder)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  the table of a history, progress

    def __call__(self, path: Path) -> str:
        """`image` where it was read, `sentence`, or the name of what went wrong."""
        name, _, content = path.read_bytes().partition(b"\n")
        file, load = TARGETS[name.decode()]
        whole = file.read_bytes()
        record = file.with_name("run.json")
        described = record.read_bytes() if record.is_file() else b""
        file.write_bytes(content)
        if file.suffix in (".pt", ".ts"):
            self.describe(file, record)
        try:
            load()
            result = "image"
        except UserError as error:
            result = (
                "sentence" if "\n" not in str(error) and str(error)[-1] in ".!)" else f"error in the sentence: {error}"
            )
        except Exception as error:
            result = f"error {type(error).__name__}: {error}"
        if TRACE.exists() or (Path("..") / "up").exists():
            result = "error: code ran"
        shutil.rmtree("unpacked", ignore_errors=True)
        if described:
            record.write_bytes(described)
        file.write_bytes(whole)
        return result

    def describe(self, file: Path, record: Path) -> None:
        """Make the damaged file the one that the record, or the digest beside it, describes."""
        about = json.loads(record.read_text())
        about.setdefault("files", {})[file.name] = sha256(file)
        record.write_text(json.dumps(about))
        digest = file.with_name(f"{file.name}.sha256")
        if digest.is_file():
            digest.write_text(f"{sha256(file)}  {file.name}\n")


def fuzz(count: int, seconds: float, seed: int = 0) -> Any:  # noqa: ANN401
    """Load damaged files until there are `count` or the time is over; count what became of them."""
    return fuzz_with(inputs, Loader, count, seconds, seed)


if __name__ == "__main__":
    main("Damage records, lists, exports and zips at random and load them.", fuzz, 600)
