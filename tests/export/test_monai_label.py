"""The MONAI Label app as it is written."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic.label_app import NAME, SOURCE, lib, write_bundle, write_run

from dynammo.errors import UserError
from dynammo.export.monai_label import TEMPLATE, write_label_app


@pytest.fixture(scope="module", autouse=True)
def template() -> Iterator[None]:
    """The app's folder on the path, as its main.py has it."""
    sys.path.insert(0, str(TEMPLATE))
    yield
    sys.path.remove(str(TEMPLATE))
    for name in [name for name in sys.modules if name == "lib" or name.startswith("lib.")]:
        del sys.modules[name]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / NAME)


def test_the_app_holds_code_bundle_and_where_dynammo_is(bundle: Path, tmp_path: Path) -> None:
    model = write_label_app(bundle, tmp_path / "app")
    app = tmp_path / "app"
    assert model == app / "model" / NAME
    assert lib("served").served_bundle(model) == model / "1"
    assert (model / "1" / "models" / "model.ts").read_bytes() == b"network"
    assert {"main.py", "start.py", "server.py", "README.md", "requirements.txt", "constraints.txt", "lib"} <= {
        entry.name for entry in app.iterdir()
    }
    assert not list(app.rglob("__pycache__"))
    assert lib("commands").dynammo_command(app, {}) == [sys.executable, "-m", "dynammo"]


def test_no_file_of_the_app_needs_dynammo() -> None:
    for file in Path(str(TEMPLATE)).rglob("*.py"):
        assert "import dynammo" not in file.read_text() and "from dynammo" not in file.read_text(), file


def test_a_second_model_joins_and_the_first_is_kept(bundle: Path, tmp_path: Path) -> None:
    write_label_app(bundle, tmp_path / "app")
    other = write_bundle(tmp_path / "other_classification", b"other")
    write_label_app(other, tmp_path / "app")
    assert set(lib("served").model_folders(tmp_path / "app" / "model")) == {NAME, other.name}
    with pytest.raises(UserError, match="may have learnt since"):
        write_label_app(bundle, tmp_path / "app")


def test_the_run_comes_along_without_its_records_of_images(bundle: Path, tmp_path: Path) -> None:
    model = write_label_app(bundle, tmp_path / "app", write_run(tmp_path / "run", SOURCE))
    kept = {str(file.relative_to(model / "1" / "run")) for file in (model / "1" / "run").rglob("*.*")}
    assert kept == {"run.json", "model.pt", "checkpoint.pt", "tasks/1.pt"}


def test_another_run_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not exported from"):
        write_label_app(bundle, tmp_path / "app", write_run(tmp_path / "run", "1" * 64))
    with pytest.raises(UserError, match="is not a run"):
        write_label_app(bundle, tmp_path / "app", bundle)


def test_what_is_no_whole_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"lacks configs/metadata\.json"):
        write_label_app(tmp_path, tmp_path / "app")
    with pytest.raises(UserError, match="letters, digits"):
        write_label_app(write_bundle(tmp_path / "mine & yours"), tmp_path / "app")
    (bundle / "models" / "model.ts").write_bytes(b"another")
    with pytest.raises(UserError, match=r"not the file that run\.json"):
        write_label_app(bundle, tmp_path / "app")
    assert not (tmp_path / "app").exists()
