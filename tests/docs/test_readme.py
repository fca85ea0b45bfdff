"""Nothing is promised in the README that is not run here, as typed, on small phantoms and for one epoch."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import fire
import monai.bundle
import pytest
from synthetic.datasets import ROOT, make_data
from synthetic.pages import commands_of
from typer.testing import CliRunner

COMMANDS = commands_of("README.md")
QUICK = ["--weights", "first_task", "--image_size", "32", "--stages", "2", "--epochs", "1", "--no-mlflow"]
LEADING = (  # of the demo, in this order
    "python -m monai.bundle run training", "dynammo compare", "dynammo classify", "dynammo export", "dynammo learn",
)  # fmt: skip
SMALL = ["--epochs", "1", "--head_epochs", "2", "--mlflow", "False"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the repository root, to which the commands may write."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("bundle", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    make_data(folder / "unread", 2, 1)
    for split in ("train", "test"):
        shutil.copytree(folder / "unread" / split / "white", folder / "new_disease" / split / "white")
        shutil.rmtree(folder / "unread" / split / "white")
    shutil.copytree(make_data(folder / "more", 5, 1) / "train", folder / "images")
    shutil.rmtree(folder / "images" / "white")
    return folder


def run_as_typed(command: str) -> None:
    """Run one command of the README in process, through the parser that the real one uses."""
    words = shlex.split(command, comments=True)
    if words[:3] == ["python", "-m", "monai.bundle"]:
        commands = {"run": monai.bundle.run, "ckpt_export": monai.bundle.ckpt_export}
        fire.Fire(commands, command=words[3:] + (SMALL if "training" in words else []))
    elif words[0] == "cd":
        os.chdir(words[1])
    elif words[:3] == ["python", "-m", "data_prep.phantoms"]:
        from data_prep.phantoms.__main__ import app as phantoms

        result = CliRunner().invoke(phantoms, [*words[3:], "--size", "64", "--train", "4", "--test", "2"])
        assert result.exit_code == 0, result.output
    elif words[:3] == ["python", "-m", "benchmarks"]:
        from benchmarks.__main__ import app as benchmarks

        small = ["--image-size", "32", "--stages", "2", "--batch-size", "2"]
        result = CliRunner().invoke(benchmarks, [*words[3:], *small])
        assert result.exit_code == 0, result.output
    elif words[0] == "dynammo":
        from dynammo.cli import app

        more = {"train": QUICK, "learn": ["--max-drop", "100", "--no-mlflow"]}.get(words[1], [])
        result = CliRunner().invoke(app, [*words[1:], *more])
        assert result.exit_code == 0, result.output
    elif words[0] == "make":
        done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    else:
        pytest.fail(f"the README has a command that no test knows how to run: {command}")


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) >= 7 and COMMANDS[0].startswith("make demo")


def test_commands_run_as_typed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)  # in one test, since later commands use what earlier ones made
    for command in COMMANDS:
        run_as_typed(command)
    for name in ("model.pt", "predictions/predictions.csv", "evaluation/evaluation.json"):
        assert (checkout / "runs" / "histology" / name).is_file()
    assert (checkout / "runs" / "cost.json").is_file()
    assert (checkout / "runs" / "histology" / "report" / "report.html").is_file()
    _as_a_clinician(checkout)
    _into_a_hospital(checkout)


def _as_a_clinician(checkout: Path) -> None:
    """The ten lines of docs/clinician.md, with the model that the README has trained."""
    shutil.copytree(checkout / "demo" / "data" / "histology" / "test", checkout / "studies")
    shutil.copytree(checkout / "runs" / "histology", checkout / "runs" / "skin")
    for command in commands_of("docs/clinician.md"):
        if not command.startswith("source "):
            run_as_typed(command)
    assert (checkout / "results" / "predictions.csv").is_file()


def test_the_demo_trains_through_the_bundle_command() -> None:
    planned = subprocess.run(["make", "-n", "demo"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    bundle, *others = (word for line in planned.splitlines() for word in LEADING if line.startswith(word))
    assert [bundle, *others] == [*LEADING]
    assert "--methods finetune,dynammo,analytic" in planned and "demo/report/report.html" in planned


@pytest.mark.parametrize(
    ("page", "link"),
    [
        (page, link)
        for page in ("README.md", *(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")))
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / page).read_text())
    ],
)
def test_links_lead_somewhere(page: str, link: str) -> None:
    assert (ROOT / page).parent.joinpath(link).exists()


def _into_a_hospital(checkout: Path) -> None:
    """docs/deploy.md; its other pages are tested where their environments are."""
    for command in commands_of("docs/deploy.md"):
        run_as_typed(command)
    os.chdir(checkout)
    assert (checkout / "dist" / "dynammo_histology_classification.zip").is_file()
    assert (checkout / "runs" / "histology" / "model.ts").is_file()
    for name in ("predictions.csv", "evaluation.json"):
        assert (checkout / "runs" / "by_monai" / name).is_file()
