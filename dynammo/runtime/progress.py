"""Progress bars with the time left, on a terminal; silent elsewhere."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dynammo.runtime.terminal import Terminal

if TYPE_CHECKING:
    from ignite.engine import Engine

__all__ = ["ShowProgress", "WholeProgress", "make_progress", "track"]

T = TypeVar("T")


def make_progress(done: ProgressColumn | None = None) -> Progress:
    """A bar that clears itself and is not drawn where output is no terminal.

    Args:
        done: shows how much is done; None for the number of steps.
    """
    from dynammo.runtime.distributed import is_first  # takes torch, which reading a folder does without

    console = Terminal(stderr=True)
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        done or MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or not is_first(),  # one bar for several processes
        redirect_stdout=sys.stdout is not None
        and sys.stdout.isatty(),  # lines printed meanwhile stand above the bar; in a file they stay in it
    )


def track(items: Iterable[T], description: str, total: int, amount: float = 1) -> Iterator[T]:
    """Yield `items` under a progress bar, that of the whole work where one is shown.

    Args:
        items: what is worked on.
        description: what is done.
        total: number of items.
        amount: by which each moves a `WholeProgress`.
    """
    if WholeProgress.shown is None:
        with make_progress() as bar:
            yield from bar.track(items, total=total, description=description)
        return
    for item in items:
        yield item
        if WholeProgress.shown is not None:
            WholeProgress.shown.advance(description, amount)


class WholeProgress:
    """One bar for a long work of several parts; while it is shown nothing else draws one.

    Args:
        amounts: how much each part is expected to be, in any unit. A part that is more waits at its end, one that is
            less jumps there.
    """

    shown: "WholeProgress | None" = None

    def __init__(self, amounts: Sequence[float]) -> None:
        self._ends = list(accumulate(amounts))
        self._end = 0.0
        self._bar = make_progress(TaskProgressColumn())
        self._task = self._bar.add_task("", total=self._ends[-1] if self._ends else 0)

    def start(self, part: int) -> None:
        """Show the bar at the start of a part."""
        self._end = self._ends[part]
        self._bar.update(self._task, completed=self._ends[part - 1] if part else 0)
        if WholeProgress.shown is None:
            WholeProgress.shown = self
            self._bar.start()

    def advance(self, description: str, amount: float) -> None:
        """Say what is done now, and that so much of it is done."""
        done = min(self._bar.tasks[0].completed + amount, self._end)
        self._bar.update(self._task, description=description, completed=done)

    def stop(self) -> None:
        """Clear the bar."""
        if WholeProgress.shown is self:
            WholeProgress.shown = None
            self._bar.stop()


class ShowProgress:
    """One bar for each run of a trainer, counted in iterations, named by `engine.state.stage`.

    Args:
        amount: by which an iteration moves a `WholeProgress`.
    """

    def __init__(self, amount: float = 1) -> None:
        self._amount = amount
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
        if WholeProgress.shown is not None:
            return
        self._bar = make_progress()
        self._bar.start()
        total = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
        done = engine.state.iteration or 0  # more than 0 where an interrupted training resumes
        self._bar.add_task(getattr(engine.state, "stage", "training"), total=total, completed=done)

    def _advance(self, engine: "Engine") -> None:
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0])
        elif WholeProgress.shown is not None:
            WholeProgress.shown.advance(getattr(engine.state, "stage", "training"), self._amount)

    def _stop(self, engine: "Engine") -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _fail(self, engine: "Engine", error: BaseException) -> None:
        self._stop(engine)
        raise error
