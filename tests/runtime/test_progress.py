"""Bars on a terminal, silence elsewhere."""

import io

import pytest
from ignite.engine import Engine, Events
from rich.console import Console

from dynammo.runtime import progress
from dynammo.runtime.progress import ShowProgress, WholeProgress, make_progress, track


def test_nothing_is_drawn_where_output_is_no_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(track(iter("abc"), "letters", 3)) == ["a", "b", "c"]
    assert make_progress().disable
    assert capfd.readouterr() == ("", "")


def test_a_terminal_shows_one_bar_of_the_first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Terminal", lambda **_: Console(file=screen, force_terminal=True, width=100))
    list(track(range(3), "reading", 3))
    assert "reading" in screen.getvalue() and "3/3" in screen.getvalue()
    monkeypatch.setattr("dynammo.runtime.distributed.is_first", lambda: False)
    assert make_progress().disable


@pytest.mark.parametrize("fails", [False, True])
def test_a_training_counts_its_iterations_and_its_errors_pass(fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Terminal", lambda **_: Console(file=screen, force_terminal=True, width=100))

    def step(engine: Engine, number: int) -> None:
        if fails and number == 2:
            raise RuntimeError("made up")

    engine = Engine(step)
    engine.add_event_handler(Events.STARTED, lambda: setattr(engine.state, "stage", "task 1/3: adapters"))
    ShowProgress().attach(engine)
    if fails:
        with pytest.raises(RuntimeError, match="made up"):
            engine.run(range(4), max_epochs=2)
    else:
        engine.run(range(4), max_epochs=2)
        assert "8/8" in screen.getvalue()
    assert "task 1/3: adapters" in screen.getvalue()


def test_one_bar_shows_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "Terminal", lambda **_: Console(file=screen, force_terminal=True, width=100))
    whole = WholeProgress([4.0, 4.0])
    whole.start(0)
    assert list(track(range(3), "statistics", 3, amount=2.0)) == [0, 1, 2]
    whole.start(1)
    engine = Engine(lambda engine, number: None)
    engine.add_event_handler(Events.STARTED, lambda: setattr(engine.state, "stage", "task 2/2: adapters"))
    ShowProgress(amount=1.0).attach(engine)
    engine.run(range(3))
    whole.stop()
    shown = screen.getvalue()
    assert "task 2/2: adapters" in shown and " 88%" in shown and "3/3" not in shown
    assert WholeProgress.shown is None
