import os
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic.datasets import ROOT

import dynammo
from dynammo.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command line."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_version_and_help_import_nothing_heavy() -> None:
    code = "import sys, dynammo.cli; print({'torch', 'monai', 'mlflow', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("dynammo.runs.find", {"torch", "ignite", "monai", "numpy"}),
        ("dynammo.runs.load", {"torch", "ignite", "monai", "numpy"}),
        ("dynammo.lifecycle.history", {"torch", "ignite", "monai", "numpy"}),
        ("dynammo.lifecycle.training_plan", {"torch", "ignite", "monai"}),
        ("dynammo.io.studies", {"torch", "ignite", "monai"}),
        (
            "dynammo.clinic.classify",
            {"dynammo.training.trainer", "dynammo.handlers", "dynammo.lifecycle", "dynammo.export"},
        ),
        ("dynammo.inference.evaluators", {"dynammo.training.trainer", "dynammo.training.stage_trainer"}),
    ],
)
def test_what_answers_at_once_imports_nothing_that_takes_seconds(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(sorted({absent!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "--version") == (0, f"dynammo {dynammo.__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["classify", "--help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    assert "Usage" in out


def test_module_runs_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "dynammo", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("dynammo ")


def test_an_end_inside_code_that_is_made_at_run_time_is_status_130(tmp_path: Path) -> None:
    """Signals come at any moment, so also while `dataclasses` or torch run a text with `exec`."""
    (tmp_path / "ended.py").write_text(
        "import os, signal, typer\n"
        "from dynammo.cli import run_app\n"
        "app = typer.Typer()\n"
        "@app.command()\n"
        "def end(): exec('os.kill(os.getpid(), signal.SIGTERM); [i for i in range(10**6)]')\n"
        "run_app(app, [])\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    ended = subprocess.run([sys.executable, "-m", "ended"], env=environment, capture_output=True, text=True)
    assert ended.returncode == 130, ended.stderr


def test_benchmarks_have_moved(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(capsys, "benchmark", "cost", "--json", "a b.json")
    assert (status, out) == (1, "")
    assert "python -m benchmarks cost --json 'a b.json'" in err and err.count("\n") == 1
