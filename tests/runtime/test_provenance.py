"""Where a result comes from."""

import shlex
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import torch
from packaging.version import Version

from dynammo import __version__
from dynammo.runtime import bundle_files, provenance


def test_a_result_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/dynammo", "classify", "-i", "a b"])
    origin = provenance.origin()
    assert origin["versions"]["dynammo"] == __version__
    # of torch the package may be 2.13.0 where the module says 2.13.0+cu130
    assert Version(origin["versions"]["torch"]).public == Version(torch.__version__).public
    assert origin["command"].endswith("classify -i 'a b'")
    assert "somewhere" not in origin["command"], "where a user keeps programs is nobody's business"
    assert f"{torch.get_num_threads()} threads" in origin["machine"]
    assert datetime.now(timezone.utc) - datetime.fromisoformat(origin["date"]) < timedelta(minutes=1)


def test_a_wheel_below_the_repository_of_another_project_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "c", "--allow-empty"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(bundle_files, "PACKAGE", tmp_path / "dynammo")
    assert provenance.commit() is not None  # a checkout
    (tmp_path / "dynammo" / "bundle").mkdir(parents=True)
    assert provenance.commit() is None


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("/data/Doe^Jane/scans/", "scans"), ("--output_dir=/data/Doe Jane/x", "--output_dir=x"), ("-i/Doe/x", "-ix"),
        ("../Doe/x", "x"), (r"D:\Doe\x", "x"), (r"--model=\\server\Doe\x", "--model=x"),
        ("--device=cuda:0", "--device=cuda:0"),
        ("['/Doe/a.yaml', 'Doe/b.yaml']", "['a.yaml', 'b.yaml']"), ("sqlite:////srv/Doe/runs.db", "runs.db"),
        ("http://Doe:secret@host:5000", "host:5000"), ("--lr=1e-3", "--lr=1e-3"), ("", ""), ("-", "-"),
    ],
)  # fmt: skip
def test_folders_that_may_name_patients_stay_out(word: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["dynammo", word])
    assert provenance.command() == f"dynammo {shlex.join([shown])}"
    monkeypatch.setenv("DYNAMMO_WHOLE_PATHS", "1")
    assert provenance.command() == f"dynammo {shlex.join([word])}", "asked for"
