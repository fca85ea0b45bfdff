import builtins
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from dynammo import doctor as installation
from dynammo import doctor as machine_checks
from dynammo.doctor import look_around, print_checks
from dynammo.runtime import plain

Trained = Callable[..., Path]


@pytest.fixture
def with_model(trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory that holds one run."""
    run = tmp_path / "runs" / "tiny"
    run.mkdir(parents=True)
    for name in ("run.json", "model.pt"):
        shutil.copy(trained() / name, run)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("DYNAMMO_MODELS", raising=False)
    return tmp_path


def examine(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str], str]:
    """Exit status, the lines by name with their continuation and single spaces, and the whole screen."""
    capsys.readouterr()
    checks = look_around()
    print_checks(checks)
    status = int(any(check.state == "fails" for check in checks))
    screen = capsys.readouterr().out
    lines: dict[str, str] = {}
    name = ""
    for line in screen.splitlines()[:-2]:
        name = line.split("  ")[0] or name
        lines[name] = f"{lines.get(name, '')} {' '.join(line.removeprefix(name).split())}".strip()
    return status, lines, screen


def state(lines: dict[str, str], name: str) -> str:
    return lines[name].split()[0]


def test_a_whole_installation_would_work(with_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, screen = examine(capsys)
    assert status == 0
    assert "Classification would work" in screen
    assert "Research software. Not a medical device." in screen
    assert len(screen.splitlines()) <= 30
    assert max(map(len, screen.splitlines())) <= 80
    assert f"torch {metadata.version('torch')}" in lines["packages"]
    assert "runs/tiny (run): 4 classes" in lines["model"]
    for name in ("Python", "packages", "computes on", "bundle configs", "model", "working folder", "machine"):
        assert state(lines, name) == "ok"


def test_no_model_fails_and_says_what_to_type(
    with_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (with_model / "empty").mkdir()
    monkeypatch.chdir(with_model / "empty")
    monkeypatch.setenv("DYNAMMO_MODELS", "nowhere")
    status, lines, screen = examine(capsys)
    assert status == 1
    assert state(lines, "model") == "fails"
    assert "dynammo train FOLDER" in lines["model"]
    assert "1 line fails" in screen
    assert state(lines, "DYNAMMO_MODELS") == "missing"


def test_a_model_that_is_not_the_one_of_its_record_fails(
    with_model: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(trained("joint") / "model.pt", with_model / "runs" / "tiny")
    status, lines, _ = examine(capsys)
    assert status == 1
    assert state(lines, "model") == "fails"
    assert "is not the file of its run.json" in lines["model"]


def test_a_missing_or_old_package_fails(
    with_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ["torch<3,>=2.8", "nowhere-to-be-found>=2", "rich>=999", 'nothing-either; extra == "clinic"', "pydicom"]
    monkeypatch.setattr(installation, "requires", lambda name: wanted)
    status, lines, _ = examine(capsys)
    assert status == 1
    assert lines["nowhere-to-be-found"] == 'fails pip install "nowhere-to-be-found>=2"'
    assert 'pip install "rich>=999"' in lines["rich"]
    assert state(lines, "DICOM structured reports") == "missing"
    assert "pip install nothing-either" in lines["DICOM structured reports"]


def test_an_extra_that_is_missing_fails_nothing(
    with_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "requires", lambda name: ['nothing-at-all; extra == "serve"'])
    status, lines, _ = examine(capsys)
    assert (status, state(lines, "page to drop images on")) == (0, "missing")


def test_a_lacking_decoder_is_named(
    with_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pydicom.pixels import get_decoder
    from pydicom.uid import HTJ2K, RLELossless

    assert "RLE, " in examine(capsys)[1]["DICOM decoders"]
    monkeypatch.setattr(get_decoder(RLELossless), "_available", {})
    monkeypatch.setattr(get_decoder(HTJ2K), "_available", {})
    status, lines, _ = examine(capsys)
    assert status == 0
    assert "RLE" not in lines["DICOM decoders"]
    assert "pip install pylibjpeg pylibjpeg-rle" in lines["DICOM RLE"]
    assert "pylibjpeg-openjpeg" in lines["DICOM HTJ2K"]


def test_packages_that_cannot_be_imported_fail_instead_of_a_traceback(
    with_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    imports = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        if name in ("torch", "gdcm"):
            raise ImportError(f"no {name}", name=name)
        return imports(name, *arguments, **options)

    if "dynammo.io.dicom" in sys.modules:  # put back in both places: one without the other would be two modules
        monkeypatch.setattr(sys.modules["dynammo.io"], "dicom", sys.modules["dynammo.io.dicom"])
        monkeypatch.delitem(sys.modules, "dynammo.io.dicom")
    monkeypatch.setattr(builtins, "__import__", refuse)
    status, lines, _ = examine(capsys)
    assert status == 1
    assert state(lines, "computes on") == "fails"
    assert "pip install python-gdcm" in lines["DICOM"]


@pytest.mark.parametrize(("found", "expected"), [(None, "ok"), ("/usr/bin/nvidia-smi", "missing")])
def test_a_build_for_gpus_lacks_one_only_where_there_is_a_driver(
    found: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: found)
    check = installation.check_torch()
    assert (check.state, "no GPU is found" in check.detail) == (expected, True)


def test_a_folder_that_cannot_be_written_fails(
    with_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine_checks.tempfile, "TemporaryFile", refuse)
    status, lines, _ = examine(capsys)
    assert (status, state(lines, "working folder")) == (1, "fails")
    monkeypatch.undo()


def test_a_full_disk_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil._ntuple_diskusage(10**12, 10**12 - 10**6, 10**6)  # type: ignore[attr-defined]
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda path: usage)
    check = machine_checks.check_disk()
    assert (check.state, "1 MB" in check.detail) == ("fails", True)


def test_memory_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(plain, "CONTROL_GROUP", limit)
    limit.write_text("max\n")
    assert machine_checks.check_memory().state == "ok"
    limit.write_text(str(2**30))
    check = machine_checks.check_memory()
    assert (check.state, "1.0 GiB" in check.detail) == ("missing", True)


def test_variables_are_named_and_their_values_are_not(
    with_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://erika:secret@example.org")
    monkeypatch.setenv("DYNAMMO_MODELS", "/home/erika/models")
    monkeypatch.setenv("TORCH_HOME", "/home/erika/torch")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    status, lines, screen = examine(capsys)
    assert status == 0
    assert "DYNAMMO_MODELS, MLFLOW_DISABLE_TELEMETRY, MLFLOW_TRACKING_URI" in lines["variables set"]
    assert "unset MLFLOW_DISABLE_TELEMETRY" in lines["variables set"]
    assert "1 of its folders is not there" in lines["DYNAMMO_MODELS"]
    assert "erika" not in screen
    assert "secret" not in screen


def test_cached_weights_are_found(
    with_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(with_model / "torch"))
    assert state(examine(capsys)[1], "ImageNet weights") == "missing"
    cache = with_model / "torch" / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "resnet34-b627a593.pth").touch()
    assert examine(capsys)[1]["ImageNet weights"].startswith("ok resnet34 in")
