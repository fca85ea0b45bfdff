import sys

import pytest

from dynammo.errors import UserError, explain_user_errors, printable


def wrapped(cause: Exception) -> RuntimeError:
    try:
        raise RuntimeError("failed to instantiate a component") from cause
    except RuntimeError as error:
        return error


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    explain_user_errors()
    explain_user_errors()  # twice does no harm


@pytest.mark.usefixtures("hook")
def test_a_mistake_prints_its_sentence_alone(capsys: pytest.CaptureFixture[str]) -> None:
    error = wrapped(UserError("there is no folder x; give another."))
    sys.excepthook(type(error), error, error.__traceback__)
    assert capsys.readouterr().err == "error: there is no folder x; give another.\n"


@pytest.mark.usefixtures("hook")
def test_other_errors_keep_their_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    error = wrapped(KeyError("a fault of ours"))
    sys.excepthook(type(error), error, error.__traceback__)
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_leaves_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    explain_user_errors()
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07.png", "\\x1b]0;owned\\x07.png"), ("a\rb\x9b31m", "a\\rb\\x9b31m"),
        ("\u202egnp", "\\u202egnp"),
        ("B\udce4r", "B\\udce4r"), ("two\nlines, Läsion 肺 \u00a0", "two\nlines, Läsion 肺 \u00a0"),
    ],
)  # fmt: skip
def test_names_are_no_commands_to_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
