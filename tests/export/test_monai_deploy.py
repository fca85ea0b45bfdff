"""What `dynammo deploy-app` writes; tests/deploy runs it."""

import ast
import importlib.util
import json
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest
from synthetic.datasets import ROOT

from dynammo.errors import UserError
from dynammo.export.monai_deploy import carried_modules, write_deploy_app

TEMPLATE = ROOT / "dynammo" / "export" / "monai_deploy_app"
CLASSES = ["lentigo", "melanoma"]
RECIPE = {
    "spatial_dims": 2, "volumes": "middle", "crop_borders": False, "stain_normalisation": False,
    "colour_constancy": False, "grey": "percentile", "window": [-160, 240],
}  # fmt: skip
MODEL_SHA256 = "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4"  # of b"model"


def write_bundle(folder: Path, classes: list[str] = CLASSES, modality: str = "dermoscopy") -> Path:
    """The files of an exported bundle, without a network in them."""
    record = {
        "classes": CLASSES, "network": {"heads": [2]}, "config": {"image_size": 32, "recipe": RECIPE},
        "files": {"model.ts": MODEL_SHA256}, "trust": {"unknown_threshold": 0.7},
    }  # fmt: skip
    prediction = {"channel_def": {str(i): name for i, name in enumerate(classes)}}
    formats = {"inputs": {"image": {"modality": modality}}, "post_processed_outputs": {"pred": prediction}}
    metadata = {"name": "skin", "version": "0.2.0", "network_data_format": formats}
    files = {
        "LICENSE": "licence", "configs/metadata.json": json.dumps(metadata), "configs/inference.yaml": "image_size: 32",
        "docs/README.md": "card", "models/run.json": json.dumps(record), "models/model.ts": "model",
        "models/model.pt": "weights", "models/model.onnx": "onnx", "models/learning.pt": "statistics",
        "eval/predictions.csv": "patients",
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def imported(file: Path) -> set[str]:
    """Modules that a file imports, however deep."""
    nodes = list(ast.walk(ast.parse(file.read_text())))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return found | {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}


def requirements(file: Path) -> dict[str, str]:
    """What stands behind each package of a list."""
    lines = (re.match(r"([\w.-]+)([^#]*)", line) for line in file.read_text().splitlines())
    return {found[1].lower().replace("_", "-"): found[2].strip() for found in lines if found}


def test_the_application_carries_the_readers_of_dynammo_unchanged(tmp_path: Path) -> None:
    app = write_deploy_app(write_bundle(tmp_path / "bundle"), tmp_path / "app")
    carried = {file.relative_to(app / "dynammo").as_posix() for file in (app / "dynammo").rglob("*.py")}
    assert carried == set(carried_modules())
    assert {"io/image_reader.py", "io/dicom.py", "clinic/structured_report.py"} <= carried
    for name in carried:
        assert (app / "dynammo" / name).read_bytes() == (ROOT / "dynammo" / name).read_bytes()
    for file in app.rglob("*.py"):
        needed = {
            f"{name.removeprefix('dynammo.').replace('.', '/')}.py" for name in imported(file) if "dynammo." in name
        }
        assert needed - {"api.py"} <= carried  # which type checkers alone see (dynammo/__init__.py)


def test_the_application_needs_what_its_requirements_list(tmp_path: Path) -> None:
    app = write_deploy_app(write_bundle(tmp_path / "bundle"), tmp_path / "app")
    own = {file.stem for file in app.glob("*.py")} | {"dynammo"} | set(sys.stdlib_module_names)
    third = {name.split(".")[0] for file in app.rglob("*.py") for name in imported(file)} - own
    packages = packages_distributions()
    unnamed = {"gdcm": ["python-gdcm"]}  # Python 3.10 is not told what some packages hold: most hold their own name
    listed = requirements(app / "requirements.txt").keys() | {"pip"}
    sources = {name: packages.get(name) or unnamed.get(name, [name]) for name in third}
    missing = {name for name, of in sources.items() if not listed & {p.lower().replace("_", "-") for p in of}}
    assert missing == {"openslide"}  # slides are no DICOM series; reading does without


def test_what_is_required_is_what_was_tried() -> None:
    tried = requirements(ROOT / "tests" / "deploy" / "constraints.txt")
    for name, version in requirements(TEMPLATE / "requirements.txt").items():
        assert name in tried
        assert not version.startswith("==") or version == tried[name]


def test_the_bundle_is_copied_without_what_deploy_does_not_need(tmp_path: Path) -> None:
    bundle = write_deploy_app(write_bundle(tmp_path / "bundle"), tmp_path / "app") / "bundle"
    files = {file.relative_to(bundle).as_posix() for file in bundle.rglob("*") if file.is_file()}
    assert files == {
        "LICENSE", "configs/metadata.json", "configs/inference.yaml", "docs/README.md", "models/run.json",
        "models/model.ts",
    }  # fmt: skip


def test_an_application_is_replaced_whole_and_nothing_else_is(tmp_path: Path) -> None:
    bundle, app = write_bundle(tmp_path / "bundle"), tmp_path / "new" / "app"
    write_deploy_app(bundle, app)
    (app / "stale.py").write_text("")
    write_deploy_app(bundle, app)
    assert not (app / "stale.py").exists() and (app / "__main__.py").is_file()
    assert [path.name for path in app.parent.iterdir()] == ["app"]
    with pytest.raises(UserError, match=r"is no application of dynammo; give -o a new folder"):
        write_deploy_app(bundle, bundle)
    assert (bundle / "models" / "model.pt").is_file()


@pytest.mark.parametrize("gone", ["configs/inference.yaml", "models/model.ts", "models/run.json"])
def test_what_is_no_exported_bundle_is_refused(tmp_path: Path, gone: str) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    (bundle / gone).unlink()
    with pytest.raises(UserError, match=f"lacks {gone}; make one with dynammo export"):
        write_deploy_app(bundle, tmp_path / "app")
    assert not (tmp_path / "app").exists()


@pytest.fixture
def checks() -> ModuleType:
    """The application's own look at its bundle, which needs neither MONAI nor the SDK."""
    spec = importlib.util.spec_from_file_location("bundle_checks", TEMPLATE / "bundle_checks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bundle_checks"] = module
    spec.loader.exec_module(module)
    return module


def test_a_bundle_that_fits_together_is_opened(checks: ModuleType, tmp_path: Path) -> None:
    bundle = checks.open_bundle(write_bundle(tmp_path))
    assert (bundle.classes, bundle.name, bundle.version) == (tuple(CLASSES), "skin", "0.2.0")
    assert (bundle.unknown_threshold, bundle.sha256) == (0.7, MODEL_SHA256)
    assert bundle.recipe["volumes"] == "middle"


@pytest.mark.parametrize(
    ("words", "names", "others"),
    [
        ("dermoscopy", {"DMS", "XC", "OT"}, {"CT", "CR", "US"}),
        ("chest X-ray", {"CR", "DX"}, {"CT", "MR", "XC"}),
        ("CT", {"CT"}, {"MR", "CR", "XC"}),
        ("MRI of the head", {"MR"}, {"CT"}),
        ("dermoscopy, histopathology, X-ray, CT, MR", {"DMS", "SM", "MG", "CT", "MR"}, {"US"}),
    ],
)
def test_modalities_follow_the_metadata(
    checks: ModuleType, tmp_path: Path, words: str, names: set[str], others: set[str]
) -> None:
    found = set(checks.open_bundle(write_bundle(tmp_path, modality=words)).modalities)
    assert names <= found and not others & found


def test_unknown_words_restrict_nothing(checks: ModuleType, tmp_path: Path) -> None:
    assert checks.open_bundle(write_bundle(tmp_path, modality="thermography")).modalities == ()


@pytest.mark.parametrize(
    ("classes", "model", "message"),
    [
        (["melanoma", "lentigo"], "model", "name other classes or another order"),
        ([*CLASSES, "nevus"], "model", "name other classes or another order"),
        (CLASSES, "Model", r"model.ts is not the file that run.json beside it describes \(its sha256 differs\)"),
    ],
)
def test_a_bundle_that_does_not_fit_together_is_refused(
    checks: ModuleType, tmp_path: Path, classes: list[str], model: str, message: str
) -> None:
    bundle = write_bundle(tmp_path, classes)
    (bundle / "models" / "model.ts").write_text(model)
    with pytest.raises(UserError, match=message):
        checks.open_bundle(bundle)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"network_data_format": {"post_processed_outputs": 1}}'])
def test_damaged_metadata_are_refused(checks: ModuleType, tmp_path: Path, content: str) -> None:
    bundle = write_bundle(tmp_path)
    (bundle / "configs" / "metadata.json").write_text(content)
    with pytest.raises(UserError, match="is not an exported bundle"):
        checks.open_bundle(bundle)
