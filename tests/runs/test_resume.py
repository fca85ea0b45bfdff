"""An interrupted training goes on as if nothing had happened, and nothing else is taken for it."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic.datasets import ROOT
from synthetic.runs import Interrupted, at_epoch, interrupted, left_by, make_trainer, without_plots

from dynammo.data.images import TaskImages
from dynammo.errors import UserError
from dynammo.runs import resume as resuming
from dynammo.runtime import files as checkpoint
from dynammo.runtime.locking import lock_folder

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")


@pytest.fixture(scope="module")
def runs(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Output folders of a run that nothing interrupted, and of one cut off in the second epoch of its last task."""
    whole, cut = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("cut")
    before = Path.cwd()
    os.chdir(ROOT)
    with pytest.MonkeyPatch.context() as patch:
        without_plots(patch)
        make_trainer(tiny_data, whole).learn()
        patch.setattr(resuming, "save_checkpoint", interrupted(checkpoint.save_checkpoint, at_epoch(2, "adapters", 2)))
        with pytest.raises(Interrupted):
            make_trainer(tiny_data, cut).learn()
    os.chdir(before)
    return whole, cut


@pytest.fixture
def cut(runs: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the run that was cut off."""
    return shutil.copytree(runs[1], tmp_path / "run")


def sentence(act: Callable[[], object]) -> str:
    """What the user reads; MONAI wraps what the parts of a config raise."""
    with pytest.raises(Exception) as caught:
        act()
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    assert error is not None, caught.value
    return str(error)


def test_the_same_command_goes_on_at_the_epoch(
    runs: tuple[Path, Path], cut: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in (".stage.coming.pt.a1b2c3d4", "checkpoint.coming.pt", ".run.json.a1b2c3d4"):  # as kill -9 leaves them
        (cut / name).write_bytes(b"half")
    make_trainer(tiny_data, cut).learn()
    assert "task 3 of 3, adapters, after epoch 2" in capsys.readouterr().out
    assert left_by(cut) == left_by(runs[0])
    left = {path.name for path in cut.iterdir()}
    assert left >= {"checkpoint.pt", "checkpoint.pt.sha256", "model.pt", "run.json"}
    assert not any("stage" in name or "previous" in name or "coming" in name for name in left)
    assert resuming.UNFINISHED not in left and not any("a1b2c3d4" in name for name in left)


@pytest.mark.parametrize(
    ("name", "when", "position"),
    [
        ("dynammo.runs.resume.save_checkpoint", at_epoch(0, "backbone", 1), "task 1 of 3, backbone, after epoch 1"),
        (
            "dynammo.handlers.head_tuning.TuneHeads._tune",
            lambda _, engine: engine.task.index == 1,
            "adapters, after epoch 3",
        ),
        (
            "dynammo.runs.resume.ResumeRun._save_task",
            lambda _, engine: engine.tasks_learnt == 3,
            "the records at the end",
        ),
    ],
)
def test_wherever_it_was_cut_off(
    name: str, when: Callable[..., bool], position: str, runs: tuple[Path, Path], tiny_data: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    import pkgutil

    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(name, interrupted(pkgutil.resolve_name(name), when))
        make_trainer(tiny_data, tmp_path).learn()
    assert "type the same command to resume" in capsys.readouterr().out
    make_trainer(tiny_data, tmp_path).learn()
    assert position in capsys.readouterr().out
    assert left_by(tmp_path) == left_by(runs[0])


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 4
    file.write_bytes(content)


@pytest.mark.parametrize("damage", [cut_short, flip_a_bit, Path.unlink])
@pytest.mark.parametrize(
    ("damaged", "position"),
    [
        (["stage.pt"], "task 3 of 3, adapters, after epoch 1"),
        (["stage.pt", "stage.previous.pt"], "task 3 of 3\n"),
        (["checkpoint.pt"], "task 2 of 3\n"),
    ],
)
def test_a_damaged_file_gives_way_to_the_one_before(
    damaged: list[str], position: str, damage: Callable[[Path], None], cut: Path, tiny_data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name in damaged:
        damage(cut / name)
    trainer = make_trainer(tiny_data, cut)
    trainer.run = lambda *_, **__: None  # type: ignore[assignment, method-assign]  # the position alone matters here
    trainer.learn()
    said = capsys.readouterr().out
    assert position in said and (damage is Path.unlink or f"{damaged[0]} is damaged" in said)


def test_a_run_without_a_whole_checkpoint_is_refused(cut: Path, tiny_data: Path) -> None:
    cut_short(cut / "checkpoint.pt")
    (cut / "checkpoint.previous.pt").write_bytes((cut / "stage.pt").read_bytes())
    assert "put a copy of them back, or type --fresh True" in sentence(lambda: make_trainer(tiny_data, cut).learn())
    (cut / resuming.UNFINISHED).write_text("{")
    refused = sentence(lambda: make_trainer(tiny_data, cut))
    assert "unfinished.json is damaged (" in refused and "type --fresh True" in refused


def test_the_checkpoint_of_another_run_is_refused(cut: Path, tiny_data: Path) -> None:
    state = checkpoint.load_state(cut / "checkpoint.pt")
    checkpoint.save_checkpoint(cut, "checkpoint", {**state, "run": "another"})
    assert "checkpoint.pt does not fit this run" in sentence(lambda: make_trainer(tiny_data, cut).learn())
    state["heads"]["0.weight"] = torch.zeros(2, 2)
    checkpoint.save_checkpoint(cut, "checkpoint", state)
    assert "does not fit" in sentence(lambda: make_trainer(tiny_data, cut).learn())


def test_other_settings_are_refused_with_their_names(cut: Path, tiny_data: Path) -> None:
    said = sentence(lambda: make_trainer(tiny_data, cut, epochs=9, seed=1, cache_images=0))
    assert "seed was 0 and is 1" in said and "--fresh True" in said
    assert "cache_images" not in said and "--resume_changed" not in said
    said = sentence(lambda: make_trainer(tiny_data, cut, epochs=9, learning_rate=0.1))
    assert "(epochs was 3 and is 9, learning_rate was 0.01 and is 0.1)" in said and "--resume_changed True" in said


def test_changed_settings_are_accepted_on_demand(
    cut: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # broken off again, it has nothing left of the old settings
        trainer = make_trainer(tiny_data, cut, epochs=1, resume_changed=True)
        trainer.run, run = lambda *_, **__: None, trainer.run  # type: ignore[assignment, method-assign]
        trainer.learn()
        assert "task 3 of 3\n" in capsys.readouterr().out
    run(list(trainer.tasks)[2:], max_epochs=1, epoch_length=1)
    assert len(trainer.losses) == 1
    assert len(trainer.results) == 3 and not (cut / resuming.UNFINISHED).exists()


def test_other_images_are_refused(
    runs: tuple[Path, Path], cut: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dynammo.data.images.TaskImages.digest", lambda _: "others")
    assert "the images or their classes are not those" in sentence(lambda: make_trainer(tiny_data, cut).learn())
    assert (cut / resuming.UNFINISHED).read_bytes() == (runs[1] / resuming.UNFINISHED).read_bytes()


def test_images_exchanged_under_their_names_are_refused(
    cut: Path, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = json.loads((cut / resuming.UNFINISHED).read_text())
    data = shutil.copytree(tiny_data, tmp_path / "data")
    one, other = (data / "train" / name / f"{name}_0.png" for name in ("red", "white"))
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    monkeypatch.setattr(TaskImages, "digest", lambda _: known["images"])  # as if all had the same names and sizes
    same = {"settings": {**known["settings"], "dataset_dir": str(data)}}
    (cut / resuming.UNFINISHED).write_text(json.dumps(known | same))
    said = sentence(lambda: make_trainer(data, cut).learn())
    assert "the images or their classes are not those" in said and "--resume_changed True" in said
    del known["contents"]  # as earlier versions left it
    (cut / resuming.UNFINISHED).write_text(json.dumps(known | same))
    trainer = make_trainer(data, cut)
    trainer.run = lambda *_, **__: None  # type: ignore[assignment, method-assign]
    trainer.learn()
    assert json.loads((cut / resuming.UNFINISHED).read_text())["contents"] == trainer.data.contents()


def test_fresh_keeps_what_is_there(cut: Path, tiny_data: Path) -> None:
    kept = {path.name for path in cut.iterdir()} - {".lock"}
    trainer = make_trainer(tiny_data, cut, fresh=True, seed=5)
    trainer.run = lambda *_, **__: None  # type: ignore[assignment, method-assign]
    trainer.learn()
    (earlier,) = (cut / "earlier").iterdir()
    assert {path.name for path in earlier.iterdir()} == kept
    assert trainer.tasks_learnt == 0


def test_no_earlier_run_is_written_over(tmp_path: Path) -> None:
    for count in range(3):  # all in the same second, as a clock that is put back makes it look
        (tmp_path / "run.json").write_text(str(count))
        os.utime(tmp_path / "run.json", (1, 1))
        resuming.move_to_earlier(tmp_path)
    assert sorted(file.read_text() for file in (tmp_path / "earlier").rglob("run.json")) == ["0", "1", "2"]


def test_a_full_disk_ends_in_a_sentence(
    runs: tuple[Path, Path], tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = torch.save

    def full(state: Any, file: Any) -> None:  # noqa: ANN401
        if state.get("tasks_learnt") == 2:
            file.write(b"PK half")
            raise OSError(28, "No space left on device")
        save(state, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        said = sentence(lambda: make_trainer(tiny_data, tmp_path).learn())
    assert "cannot be written (No space left on device); make room" in said
    make_trainer(tiny_data, tmp_path).learn()
    assert left_by(tmp_path) == left_by(runs[0])


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from dynammo.runtime.locking import lock_folder; " \
        "lock = lock_folder(Path(sys.argv[1])); print('locked', flush=True); time.sleep(60)"  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT) as first:
        assert first.stdout is not None and first.stdout.readline() == b"locked\n"
        with pytest.raises(UserError, match="another training writes to"):
            lock_folder(tmp_path)
        first.send_signal(signal.SIGKILL)
        first.wait()
    lock_folder(tmp_path).release()


def test_the_folder_is_free_after_a_run_and_after_a_refusal(cut: Path, tiny_data: Path) -> None:
    held = lock_folder(cut)
    assert "another training writes to" in sentence(lambda: make_trainer(tiny_data, cut))
    held.release()
    (cut / "checkpoint.pt").unlink()
    (cut / "checkpoint.previous.pt").unlink()
    assert "damaged or gone" in sentence(lambda: make_trainer(tiny_data, cut).learn())
    lock_folder(cut).release()


def test_classes_that_change_are_refused_for_good(cut: Path, tiny_data: Path) -> None:
    known = json.loads((cut / resuming.UNFINISHED).read_text())
    known["tasks"][2] = ["yellow"]
    (cut / resuming.UNFINISHED).write_text(json.dumps(known))
    said = sentence(lambda: make_trainer(tiny_data, cut, resume_changed=True).learn())
    assert "the images or their classes are not those" in said and "--resume_changed" not in said


def test_a_finished_run_is_left_alone(
    runs: tuple[Path, Path], tiny_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done = shutil.copytree(runs[0], tmp_path / "run")
    before = {path: path.read_bytes() for path in done.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stopped:
        make_trainer(tiny_data, done, cache_images=0)
    assert stopped.value.code == 0 and "is already finished: nothing is left to do" in capsys.readouterr().out
    said = sentence(lambda: make_trainer(tiny_data, done, epochs=9))
    assert "holds a finished run with other settings (epochs was 3 and is 9)" in said and "--fresh True" in said
    trainer = make_trainer(tiny_data, tmp_path / "other")
    handler = next(handler for handler in trainer.handlers if isinstance(handler, resuming.ResumeRun))
    handler.folder = done  # as if it had been finished while images were read here
    assert "another process has just finished" in sentence(trainer.learn)
    assert {path: path.read_bytes() for path in done.rglob("*") if path.is_file()} == before
    trainer = make_trainer(tiny_data, done, fresh=True)
    trainer.run = lambda *_, **__: None  # type: ignore[assignment, method-assign]
    trainer.learn()
    assert (next((done / "earlier").iterdir()) / "model.pt").is_file() and not (done / "model.pt").exists()


def test_what_is_not_whole_is_no_finished_run(runs: tuple[Path, Path], tiny_data: Path, tmp_path: Path) -> None:
    done = shutil.copytree(runs[0], tmp_path / "run")
    flip_a_bit(done / "model.pt")
    make_trainer(tiny_data, done, epochs=9)  # it makes way
