"""Progress bars with the time left, on a terminal; silent elsewhere."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dynammo.runtime.terminal import Terminal

if TYPE_CHECKING:
    from ignite.engine import Engine

__all__ = ["ShowProgress", "make_progress", "track"]

T = TypeVar("T")


def make_progress() -> Progress:
    """A bar that clears itself and is not drawn where output is no terminal."""
    from dynammo.runtime.distributed import is_first  # takes torch, which reading a folder does without

    console = Terminal(stderr=True)
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or not is_first(),  # one bar for several processes
    )


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield `items` under a progress bar."""
    with make_progress() as bar:
        yield from bar.track(items, total=total, description=description)


class ShowProgress:
    """One bar for each run of a trainer, counted in iterations, named by `engine.state.stage`."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def attach(self, engine: "Engine") -> None:
        """Register with the trainer of one task."""
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._advance)
        engine.add_event_handler(Events.COMPLETED | Events.TERMINATE, self._stop)
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _start(self, engine: "Engine") -> None:
        self._stop(engine)
        self._bar = make_progress()
        self._bar.start()
        total = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
        done = engine.state.iteration or 0  # more than 0 where an interrupted training resumes
        self._bar.add_task(getattr(engine.state, "stage", "training"), total=total, completed=done)

    def _advance(self, engine: "Engine") -> None:
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])

    def _stop(self, engine: "Engine") -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _fail(self, engine: "Engine", error: BaseException) -> None:
        self._stop(engine)
        raise error
