"""What a process leaves half done is removed by the next one, and what a living one works on is not."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dynammo.runtime.files import write_atomically
from dynammo.runtime.unfinished import UNFINISHED, remove_leftovers, unfinished_file, work_folder

WORKER = """
import sys, time
from pathlib import Path
from dynammo.runtime.unfinished import unfinished_file, work_folder
with work_folder(".unpacked.", Path(sys.argv[1])) as folder, unfinished_file(Path(sys.argv[1], "report")) as (_, file):
    (folder / "Doe^Jane.dcm").write_text("an image")
    print("working", flush=True)
    time.sleep(60)
"""


def worker(folder: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "working\n"
    return process


def test_what_a_killed_process_left_is_removed_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    killed, living = worker(tmp_path), worker(tmp_path)
    try:
        killed.kill()
        killed.wait()
        assert len(os.listdir(tmp_path)) == 4
        (tmp_path / ".unpacked.by a person").mkdir()
        (tmp_path / f"{UNFINISHED}letter.txt").touch()
        with work_folder(".unpacked.", tmp_path) as folder:
            remove_leftovers(tmp_path)
            assert sum(path.is_dir() for path in tmp_path.iterdir()) == 3, "its own, the living one's, a person's"
            assert len(list(tmp_path.glob(".unpacked.*/Doe*"))) == 1
        assert not folder.exists() and len(os.listdir(tmp_path)) == 4
    finally:
        living.kill()
        living.wait()
    remove_leftovers(tmp_path, ".unpacked.")
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [f"{UNFINISHED}letter.txt", ".unpacked.by a person"]


def test_links_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "scan.dcm").touch()
    (tmp_path / ".unpacked.abcd1234").symlink_to(tmp_path / "images")
    (tmp_path / f"{UNFINISHED}abcd1234").symlink_to(tmp_path / "images" / "scan.dcm")
    remove_leftovers(tmp_path, ".unpacked.", recursively=True)
    remove_leftovers(tmp_path, recursively=True)
    assert len(os.listdir(tmp_path)) == 3 and (tmp_path / "images" / "scan.dcm").is_file()
    assert os.listdir(tmp_path / "images") == ["scan.dcm"], "nothing is written where a link leads"


def test_a_folder_goes_whatever_ends_the_work(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), work_folder("x.", tmp_path) as folder:
        (folder / "sub").mkdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o027, 0o640), (0o022, 0o644), (0o002, 0o664)])
def test_the_umask_decides_who_may_read(umask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "report.html", lambda file: file.write(b"of a patient"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == mode


def test_a_file_that_fails_leaves_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("before")
    with pytest.raises(ZeroDivisionError), unfinished_file(tmp_path / "a") as (aside, file):
        file.write(b"half")
        assert aside.name.startswith(UNFINISHED)
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "before"


def test_sigterm_ends_as_ctrl_c_does(tmp_path: Path) -> None:
    code = f"""
import typer
from dynammo.cli import run_app
app = typer.Typer()
@app.command()
def command():
    exec({WORKER!r})
import sys
folder = sys.argv.pop()
sys.argv.append(folder)
run_app(app, [])
"""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda number=number: signal.signal(number, signal.SIG_DFL),  # nohup ignores SIGHUP
        )  # fmt: skip
        assert process.stdout is not None and process.stdout.readline() == "working\n"
        process.send_signal(number)
        assert process.wait(20) == 130
        assert os.listdir(tmp_path) == []
