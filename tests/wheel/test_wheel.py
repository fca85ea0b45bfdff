"""A wheel works where there is no checkout: it prepares data, trains, classifies and exports."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from synthetic.datasets import ROOT

pytestmark = pytest.mark.wheel

CARRIED = ("bundle", "configs", "data_prep")
SMALL = ["--size", "48", "--train", "4", "--test", "2", "--only", "histology"]
QUICK = ["--image_size", "32", "--stages", "2", "--epochs", "1", "--milestones", "[]", "--mlflow", "False"]
WATCH = """\
import os, sys

checkouts, log = {checkouts}, {log!r}

def watch(event, arguments):
    if event not in ("open", "os.listdir", "os.scandir") or not isinstance(arguments[0], (str, bytes, os.PathLike)):
        return
    path = os.path.abspath(os.fsdecode(arguments[0]))
    if path.startswith(checkouts) and not path.startswith({allowed}):
        with open(log, "a") as file:
            print(path, file=file)

sys.addaudithook(watch)
"""


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel and all that it needs, and a folder to work in.

    Attributes:
        here: the working folder.
        bin: the environment's commands.
        log: names of the files of a checkout that were read, one a line, once there are any.
        variables: of every process.
    """

    here: Path
    bin: Path
    log: Path
    variables: dict[str, str]

    def run(self, command: str, *words: str | Path) -> str:
        """What a command of the environment prints; it must succeed."""
        done = subprocess.run(
            [self.bin / command, *words], cwd=self.here, env=self.variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command} {' '.join(map(str, words))}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def read(self) -> str:
        """What was read from a checkout; forgotten afterwards."""
        text = self.log.read_text() if self.log.exists() else ""
        self.log.unlink(missing_ok=True)
        return text


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the checkout that has been worked with."""
    copy, out = tmp_path_factory.mktemp("copy") / "checkout", tmp_path_factory.mktemp("dist")
    copy.mkdir()
    for name in ("dynammo", "benchmarks", "docs", *CARRIED):
        shutil.copytree(ROOT / name, copy / name)
    for name in ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for left in ("bundle/models/model.pt", "build/lib/dynammo/gone.py", "tests/test_all.py", "demo/data/patient.png"):
        (copy / left).parent.mkdir(parents=True, exist_ok=True)
        (copy / left).touch()
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(copy)
    (file,) = out.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """An environment of its own; packages that dynammo needs are those of this one, without its editable dynammo."""
    place = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "env"], check=True)
    scripts = place / "env" / ("Scripts" if os.name == "nt" else "bin")
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python")]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = place.glob("env/**/site-packages")
    added = {path.name for path in site.iterdir()}
    assert {name for name in added if not name.endswith(".dist-info")} == {"dynammo"} and len(added) == 2
    assert not (place / "env" / "share").exists()

    packages = [path for path in sys.path if path.endswith("site-packages")]
    (site / "packages.pth").write_text("\n".join(packages))  # their own .pth files, such as that of dynammo, do nothing
    (place / "watch").mkdir()
    watch = WATCH.format(
        checkouts=(f"{ROOT}{os.sep}",), log=str(place / "read"), allowed=(*packages, sys.prefix, str(place))
    )
    (place / "watch" / "sitecustomize.py").write_text(watch)
    (place / "work").mkdir()
    variables = {**os.environ, "PYTHONPATH": str(place / "watch"), "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "150"}
    return Installed(place / "work", scripts, place / "read", variables)


@pytest.fixture(autouse=True)
def nothing_is_read_from_the_checkout(installed: Installed) -> Iterator[None]:
    """Neither by a test of this file, nor by what was made for it."""
    yield
    assert not installed.read()


@pytest.fixture(scope="module")
def config(installed: Installed) -> Callable[[str], str]:
    """`$(dynammo config NAME)`."""
    return lambda name: installed.run("dynammo", "config", name).strip()


@pytest.fixture(scope="module")
def data(installed: Installed) -> Path:
    """Phantoms that the wheel has drawn, by a path from the working folder."""
    installed.run("dynammo", "data", "phantoms", "-o", "demo/data", *SMALL)
    return Path("demo", "data", "histology")


@pytest.fixture(scope="module")
def run(installed: Installed, config: Callable[[str], str], data: Path) -> Path:
    """A training through MONAI's command, by a method and with a recipe that the wheel carries."""
    files = [config(name) for name in ("train", "phantoms", "analytic", "recipes/histology")]
    command = ["-m", "monai.bundle", "run", "training", "--config_file", str(files), "--dataset_dir", data]
    installed.run("python", *command, "--output_dir", "runs/wheel", *QUICK)
    return Path("runs", "wheel")


@pytest.fixture(scope="module")
def bundle(installed: Installed, run: Path, data: Path) -> Path:
    """Its export."""
    folder = Path("dist", "wheel_classification")
    installed.run("dynammo", "export", "--run", run, "-o", folder, "--images", data / "test", "--no-onnx")
    return folder


def test_the_watch_sees_what_is_read_from_the_checkout(installed: Installed) -> None:
    code = f"open({str(ROOT / 'pyproject.toml')!r}).close(); import os; os.listdir({str(ROOT / 'configs')!r})"
    installed.run("python", "-c", code)
    assert installed.read().splitlines() == [str(ROOT / "pyproject.toml"), str(ROOT / "configs")]


def test_the_wheel_holds_the_package_and_what_it_carries(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {f"dynammo/{path.relative_to(ROOT / 'dynammo').as_posix()}" for path in files_of("dynammo")}
    for folder in CARRIED:
        sources |= {f"dynammo/{path.relative_to(ROOT).as_posix()}" for path in files_of(folder)}
    assert held == sources - {"dynammo/configs/benchmark.yaml", "dynammo/bundle/models/.gitkeep"}
    assert wheel.stat().st_size < 1_000_000


def files_of(folder: str) -> Iterator[Path]:
    """Files of the project below a folder, without what a training or Python left there."""
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return (ROOT / name for name in names.splitlines() if (ROOT / name).is_file())


def test_it_trains_by_monais_command(installed: Installed, run: Path) -> None:
    record = json.loads((installed.here / run / "run.json").read_text())
    assert record["method"] == "analytic" and len(record["classes"]) == 8 and record["config"]["recipe"]
    assert record["config"]["recipe"]["stain_normalisation"] is True
    assert record["commit"] is None, "the commit of whatever repository the environment lies in"
    assert (installed.here / run / "model.pt").is_file()


def test_it_classifies(installed: Installed, run: Path, data: Path) -> None:
    installed.run("dynammo", "classify", "-i", data / "test", "-o", "results", "--model", run)
    assert len((installed.here / "results" / "predictions.csv").read_text().splitlines()) == 17
    assert (installed.here / "results" / "report.html").is_file()


def test_its_export_runs_by_monai(installed: Installed, bundle: Path, data: Path) -> None:
    command = ["-m", "monai.bundle", "run", "inference", "--config_file", bundle / "configs" / "inference.yaml"]
    options = ["--bundle_root", bundle, "--dataset_dir", data / "test", "--output_dir", "by_monai"]
    installed.run("python", *command, *options)
    assert len((installed.here / "by_monai" / "predictions.csv").read_text().splitlines()) == 17


def test_its_apps_are_written(installed: Installed, bundle: Path) -> None:
    installed.run("dynammo", "label-app", "--bundle", bundle, "-o", "label_app")
    installed.run("dynammo", "deploy-app", "--bundle", bundle, "-o", "deploy_app")
    assert (installed.here / "label_app" / "start.py").is_file()
    assert (installed.here / "deploy_app" / "application.py").is_file()


def test_the_doctor_is_content(installed: Installed, run: Path) -> None:
    assert "inference.yaml, preprocessing.yaml, train.yaml" in installed.run("dynammo", "doctor")
