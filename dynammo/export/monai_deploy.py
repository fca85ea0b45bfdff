"""An exported bundle -> an application for MONAI Deploy: `dynammo deploy-app`.

The application runs where dynammo is not installed. It carries the modules of dynammo that read images and write
reports as they are, so that its images are those of `dynammo classify`, value by value.
"""

import ast
import os
import shutil
import tempfile
from importlib.resources import as_file, files
from pathlib import Path

from dynammo.errors import UserError
from dynammo.runs.record import check_usable, read_record
from dynammo.runtime.plain import expanded

__all__ = ["carried_modules", "write_deploy_app"]

NEEDED = ("clinic.structured_report", "io.dicom_headers", "io.image_reader", "runs.record", "runtime.config")
PARTS = ("LICENSE", "configs", "docs", "models")  # of a bundle
LEFT_OUT = shutil.ignore_patterns("learning.pt", "model.pt", "model.onnx", "__pycache__")  # Deploy runs model.ts


def write_deploy_app(bundle: Path, to: Path) -> Path:
    """Write the application with a copy of the bundle.

    It is written aside and moved into place whole; an application that is there already is replaced, another folder
    is not.

    Args:
        bundle: folder that `dynammo export` wrote.
        to: folder of the application.

    Returns:
        The folder of the application.

    Raises:
        UserError: no exported bundle, a folder with something else in it, or one that cannot be written.
    """
    bundle, to = expanded(bundle), expanded(to)
    _check_bundle(bundle)
    if to.exists() and not _is_replaceable(to):
        raise UserError(f"{to} is there and is no application of dynammo; give -o a new folder.")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as aside:
            made = Path(aside, "app")
            _write(bundle, made)
            if to.exists():
                os.replace(to, Path(aside, "before"))
            os.replace(made, to)
    except OSError as error:
        raise UserError(
            f"the application cannot be written to {to} ({error.strerror}); free disk space or give -o another folder."
        ) from error
    return to


def carried_modules() -> list[str]:
    """Files of dynammo that the application needs, sorted: `NEEDED`, what they import, and the rooms they lie in."""
    found: set[str] = set()
    todo = ["__init__", *NEEDED]
    while todo:
        file = f"{todo.pop().replace('.', '/')}.py"
        if file not in found:
            found.add(file)
            todo += _imports((files("dynammo") / file).read_text(encoding="utf-8"))
            todo += [f"{file.split('/')[0]}.__init__"] if "/" in file else []
    return sorted(found)


def _imports(source: str) -> list[str]:
    tree = ast.parse(source)
    tree.body = [
        node for node in tree.body if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
    ]
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    modules = [node.module for node in nodes if node.module and node.module.startswith("dynammo.")]
    return [module.removeprefix("dynammo.") for module in modules]


def _check_bundle(bundle: Path) -> None:
    missing = [
        name
        for name in ("configs/metadata.json", "configs/inference.yaml", "models/model.ts", "models/run.json")
        if not (bundle / name).is_file()
    ]
    if missing:
        raise UserError(
            f"{bundle} is not an exported bundle: it lacks {', '.join(missing)}; make one with dynammo export "
            "--model RUN -o FOLDER and give that folder."
        )
    check_usable(read_record("bundle", bundle / "models" / "model.ts"), bundle.name)


def _is_replaceable(folder: Path) -> bool:
    return folder.is_dir() and ((folder / "classification_operator.py").is_file() or not any(folder.iterdir()))


def _write(bundle: Path, to: Path) -> None:
    with as_file(files("dynammo.export") / "monai_deploy_app") as template:
        shutil.copytree(template, to, ignore=LEFT_OUT)
    (to / "bundle").mkdir()
    for name in PARTS:
        part = bundle / name
        if part.is_dir():
            shutil.copytree(part, to / "bundle" / name, ignore=LEFT_OUT)
        elif part.is_file():
            shutil.copy(part, to / "bundle" / name)
    for name in carried_modules():
        file = to / "dynammo" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes((files("dynammo") / name).read_bytes())
