"""Resume where an interrupted training stopped: the position of a run on disk, and the handler that keeps it there.

`unfinished.json` says what an unfinished run is (settings, tasks, digest of its images) and goes when it is finished.
`checkpoint.pt` is the state after the last task, `stage.pt` that after the last epoch of the task being learnt.
"""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from ignite.engine import Events

from dynammo.errors import UserError
from dynammo.runs.record import UNFINISHED, read_record
from dynammo.runs.record_schema import read_typed
from dynammo.runs.save_run import OUTPUTS
from dynammo.runtime.distributed import all_gather_object, broadcast, is_first, world_size
from dynammo.runtime.files import load_checkpoint, save_checkpoint, sha256, write_json
from dynammo.runtime.locking import lock_folder
from dynammo.runtime.plain import expanded, plain, say
from dynammo.training.settings import REMOVED, recorded_names, updated
from dynammo.training.trainer import IncrementalTrainer, TaskEvents

__all__ = ["CHANGEABLE", "UNFINISHED", "WITHOUT_EFFECT", "ResumeRun", "check_unfinished", "move_to_earlier"]

POSITION = tuple(
    f"{name}{end}.pt{digest}"
    for name in ("checkpoint", "stage")
    for end in ("", ".previous")
    for digest in ("", ".sha256")
)
CHANGEABLE = recorded_names(lambda setting: setting.changes == "task")
"""Settings that may change on the way, with `resume_changed`: every task has them for itself."""
WITHOUT_EFFECT = recorded_names(lambda setting: setting.changes == "always")
"""Settings that change no number."""
UNFIT = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


class ResumeRun:
    """Go on with the unfinished run in the output folder, and keep the position; stands last in the list of handlers.

    What stands before it in the list is done for a task when its checkpoint is written; what an interruption cuts
    off is done again. A finished run is left alone (`check_unfinished`). The folder is locked until the run ends. Of
    several processes the first alone reads and writes; the others hear of it.

    Args:
        output_dir: folder of the run.
        settings: the config values that define the run; others than those of the unfinished run are refused.
        fresh: move a run, finished or not, to `earlier/<time of its newest file>/`, and start anew.
        resume_changed: resume the unfinished run although settings of `CHANGEABLE`, or images of its classes, have
            changed; it resumes at the start of the interrupted task.
    """

    def __init__(
        self, output_dir: str, settings: Mapping[str, Any], fresh: bool = False, resume_changed: bool = False
    ) -> None:
        self.folder = expanded(output_dir)
        self.settings = settings
        self.fresh = fresh
        self.resume_changed = resume_changed
        self._lock: FileLock | None = None
        self._running = False

    def attach(self, engine: IncrementalTrainer) -> None:
        """Register with the loop over tasks and with the trainer of one task."""
        engine.add_event_handler(TaskEvents.LEARNING_STARTED, self._start)
        engine.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda _: self._save_stage(engine))
        engine.add_event_handler(TaskEvents.TASK_COMPLETED, self._save_task)
        engine.add_event_handler(Events.COMPLETED, self._finish)
        engine.add_event_handler(TaskEvents.LEARNING_ENDED, self._release)

    def _start(self, engine: IncrementalTrainer) -> None:
        _check_same_images(engine)
        if is_first():
            self._find(engine)
        _share_position(engine)

    def _find(self, engine: IncrementalTrainer) -> None:
        self._lock = lock_folder(self.folder)
        _sweep(self.folder)
        tasks = [list(task.classes) for task in engine.tasks]
        about = {"key": engine.key, "settings": plain(self.settings), "tasks": tasks}
        about |= {"images": engine.data.digest(), "contents": engine.data.contents()}
        known = _unfinished(self.folder, self.settings, self.fresh, self.resume_changed)
        if not self.fresh and _is_finished(self.folder, self.settings):
            raise UserError(f"{self.folder} holds a run that another process has just finished; nothing is left to do.")
        if known is None:
            move_to_earlier(self.folder)
        else:
            changed = _changed(known, about, self.resume_changed)
            about["key"] = engine.key = known["key"]
            if changed:
                _remove(self.folder, "stage")
            _restore(engine, self.folder)
        write_json(self.folder / UNFINISHED, about)
        self._running = True

    def _save_stage(self, engine: IncrementalTrainer) -> None:
        state = {"run": engine.key, **engine.stage_state()}
        if engine.tasks_learnt:  # the backbone lies in the checkpoint and no longer changes
            state["network"] = {k: v for k, v in state["network"].items() if not k.startswith("backbone.")}
        self._save("stage", state)

    def _save_task(self, engine: IncrementalTrainer) -> None:
        backbone = engine.network.backbone.state_dict()
        about = {"run": engine.key, "place": str(Path.cwd())}  # paths of exemplars are kept as they were typed there
        self._save("checkpoint", {**about, **engine.learning_state(), "backbone": backbone})
        if is_first():
            _remove(self.folder, "stage")

    def _save(self, name: str, state: dict[str, Any]) -> None:
        if not is_first():
            return
        try:
            save_checkpoint(self.folder, name, state)
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written ({error.strerror}); make room or mend it, and type the same command "
                "to resume."
            ) from error

    def _finish(self, engine: IncrementalTrainer) -> None:
        if engine.tasks_learnt < len(engine.tasks) or not is_first():  # ended early by a handler
            return
        (self.folder / UNFINISHED).unlink()
        _remove(self.folder, "checkpoint.previous")

    def _release(self, engine: IncrementalTrainer) -> None:
        told = isinstance(sys.exc_info()[1], UserError)  # which says what to type
        if self._running and not told and (self.folder / UNFINISHED).is_file():
            say(f"interrupted in {_position(engine)}; type the same command to resume.")
        self._running = False
        if self._lock is not None:
            self._lock.release()


def check_unfinished(
    output_dir: str | Path, settings: Mapping[str, Any], fresh: bool = False, resume_changed: bool = False
) -> None:
    """Find out before images are read whether `ResumeRun` would refuse the output folder; it takes the same arguments.

    Raises:
        UserError: another process is at it, or it holds a run, finished or not, with settings that differ.
        SystemExit: the run is finished already, which is said; with status 0, in all processes.
    """
    folder, finished = expanded(output_dir), False
    if is_first():
        lock_folder(folder).release()
        finished = _unfinished(folder, settings, fresh, resume_changed) is None and not fresh
        finished = finished and _is_finished(folder, settings)
    if broadcast({"finished": finished})["finished"]:
        if is_first():
            say(
                f"the run in {folder} is already finished: nothing is left to do; type --fresh True to train it anew "
                "(what is there is kept in earlier/)."
            )
        sys.exit(0)


def _unfinished(folder: Path, settings: Mapping[str, Any], fresh: bool, resume_changed: bool) -> dict[str, Any] | None:
    """What is known of the unfinished run that is to resume; None where there is none, or with `fresh`."""
    file = folder / UNFINISHED
    if fresh or not file.is_file():
        return None
    known = _read(file)
    _check_removed(known["settings"], file)
    known["settings"] = updated(known["settings"])
    names = _differing(known["settings"], settings)
    if not names:
        return known
    lasting = [name for name in names if name not in CHANGEABLE]
    if lasting or not resume_changed:
        differences = _differences(known["settings"], settings, lasting or names)
        others = "" if lasting else "--resume_changed True to resume with the new ones from the next task, or "
        raise UserError(
            f"{file.parent} holds an unfinished run with other settings ({differences}); type the old ones to resume, "
            f"{others}--fresh True to start anew (what is there is kept in earlier/)."
        )
    return known


def _is_finished(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the folder holds a whole run with these settings."""
    file, model = folder / "run.json", folder / "model.pt"
    if (folder / UNFINISHED).is_file() or not (file.is_file() and model.is_file()):
        return False
    try:
        record = read_record("run", model)
        whole = record["files"][model.name] == sha256(model)
    except (UserError, KeyError, OSError):  # nothing that can be used: it makes way
        return False
    known = updated(record["config"])
    names = _differing(known, settings)
    if whole and names:
        raise UserError(
            f"{folder} holds a finished run with other settings ({_differences(known, settings, names)}); give another "
            "--output_dir, or type --fresh True to start anew (what is there is kept in earlier/)."
        )
    return whole


def _differing(known: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """Names of the settings that are not what they were and have an effect."""
    new = updated(plain(settings))
    return [name for name in sorted({*known, *new} - {*WITHOUT_EFFECT}) if known.get(name) != new.get(name)]


def _differences(known: Mapping[str, Any], settings: Mapping[str, Any], names: Sequence[str]) -> str:
    new = updated(plain(settings))
    return ", ".join(f"{name} was {known.get(name)!r} and is {new.get(name)!r}" for name in names)


def _read(file: Path) -> dict[str, Any]:
    try:
        known: dict[str, Any] = read_typed(file.read_bytes(), "unfinished")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file} is damaged ({error}); type --fresh True to start anew (what is there is kept in earlier/)."
        ) from error
    return known


def _check_removed(settings: Mapping[str, Any], file: Path) -> None:
    for name in REMOVED:
        if settings.get(name):
            raise UserError(
                f"{file.parent} holds an unfinished run with {name} {settings[name]!r}, but {name} {REMOVED[name]}; "
                "type --fresh True to start anew (what is there is kept in earlier/)."
            )


def _changed(known: Mapping[str, Any], about: Mapping[str, Any], resume_changed: bool) -> bool:
    """Whether anything is not as it was, where it may be so."""
    contents = known.get("contents", about["contents"])
    images = (known["images"], contents) != (about["images"], about["contents"])
    if known["tasks"] != about["tasks"] or (images and not resume_changed):
        allowed = "" if known["tasks"] != about["tasks"] else "--resume_changed True to resume with them, or "
        raise UserError(
            "the images or their classes are not those that the unfinished run began with; put them back, or type "
            f"{allowed}--fresh True to start anew (what is there is kept in earlier/)."
        )
    return images or known["settings"] != about["settings"]


def _restore(engine: IncrementalTrainer, folder: Path) -> None:
    state = load_checkpoint(folder, "checkpoint")
    try:
        if state is not None:
            if state["run"] != engine.key:
                raise ValueError("the checkpoint of another run")
            engine.load_learning_state(state)
    except UNFIT as error:
        raise UserError(
            f"{folder / 'checkpoint.pt'} does not fit this run ({type(error).__name__}); put the right file back, or "
            "type --fresh True to start anew (what is there is kept in earlier/)."
        ) from error
    stage = _stage(engine, folder)
    if stage is not None:
        engine.load_stage_state(stage)
    after = f", {stage['stage']}, after epoch {stage['epoch']}" if stage else ""
    say(f"resuming the unfinished run in {folder}: {_position(engine)}{after}")


def _check_same_images(engine: IncrementalTrainer) -> None:
    if len(set(all_gather_object(engine.data.digest()) if world_size() > 1 else ())) > 1:
        raise UserError(
            "not all processes find the same images; every machine needs the same files under the same --dataset_dir."
        )


def _share_position(engine: IncrementalTrainer) -> None:
    """Let the other processes load what the first has found in the output folder."""
    if world_size() == 1:
        return
    backbone = engine.network.backbone.state_dict()
    learnt = {**engine.learning_state(), "backbone": backbone} if engine.tasks_learnt else {}
    position = broadcast({"key": engine.key, "learnt": learnt, "stage": engine.stages.resumed})
    if is_first():
        return
    engine.key = position["key"]
    if position["learnt"]:
        engine.load_learning_state(position["learnt"])
    if position["stage"] is not None:
        engine.load_stage_state(position["stage"])


def _stage(engine: IncrementalTrainer, folder: Path) -> dict[str, Any] | None:
    """The interrupted stage of the next task; without one the task starts anew, with the same result."""
    try:
        state = load_checkpoint(folder, "stage")
    except UserError:
        say(f"{folder / 'stage.pt'} is damaged; its task starts anew.")
        return None
    if not isinstance(state, dict) or not state.keys() >= {"run", "task", "stage", "epoch", "seconds"}:
        return None
    return state if (state["run"], state["task"]) == (engine.key, engine.tasks_learnt) else None


def _position(engine: IncrementalTrainer) -> str:
    count = len(engine.tasks)
    return f"task {engine.tasks_learnt + 1} of {count}" if engine.tasks_learnt < count else "the records at the end"


def move_to_earlier(folder: Path) -> None:
    """Keep the files of an earlier run: nobody should lose a trained model by typing a command twice."""
    names = [name for name in (*OUTPUTS, "run.json", UNFINISHED, *POSITION, "tasks") if (folder / name).exists()]
    if not names:
        return
    finished = time.strftime("%Y%m%d-%H%M%S", time.localtime(max((folder / name).stat().st_mtime for name in names)))
    kept, count = folder / "earlier" / finished, 1
    while kept.exists():  # two runs in one second, or a clock that was put back
        kept, count = kept.with_name(f"{finished}-{count}"), count + 1
    kept.mkdir(parents=True)
    for name in names:
        os.replace(folder / name, kept / name)
    say(f"the files of the earlier run in {folder} are now in {kept}")


def _sweep(folder: Path) -> None:
    """Remove what killed processes have left half written."""
    for name in (*OUTPUTS, "run.json", UNFINISHED, *POSITION, "checkpoint.coming.pt", "stage.coming.pt"):
        for file in folder.glob(f".{name}.????????"):
            file.unlink()
    for file in folder.glob("*.coming*"):
        file.unlink()


def _remove(folder: Path, name: str) -> None:
    for file in folder.glob(f"{name}*"):
        if file.name in POSITION:
            file.unlink()
