"""Names on the terminal are text: no escape sequence and no markup of theirs has an effect."""

import io
import os

import pytest
from rich.table import Table

from dynammo.runtime.terminal import Terminal

NAMES = ("\x1b]0;owned\x07", "[red]", "[/]", "a\rb", "\u202egnp.exe", os.fsdecode(b"B\xe4r"), "\x9b2J")
SHOWN = (r"\x1b]0;owned\x07", "[red]", "[/]", r"a\rb", r"\u202egnp.exe", r"B\udce4r", r"\x9b2J")


@pytest.mark.parametrize("colours", [False, True])
def test_names_are_shown_as_text(colours: bool) -> None:
    screen = io.StringIO()
    terminal = Terminal(file=screen, width=60, force_terminal=colours)
    table = Table("class", NAMES[0], title=NAMES[2])
    for name in NAMES:
        table.add_row(name, "1")
        terminal.print(f"knows {name}", soft_wrap=True)
    terminal.print(table)
    text = screen.getvalue()
    lines = text.splitlines()
    for name, shown in zip(NAMES, SHOWN, strict=True):
        assert f"knows {shown}" in lines
        assert sum(shown in line for line in lines) >= 2, name
    assert len({len(line) for line in lines if "│" in line and "\x1b" not in line}) <= 1  # columns stay columns
    assert not any(name in text for name in (NAMES[0], NAMES[3], *NAMES[4:]))
