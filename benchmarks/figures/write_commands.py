"""Write docs/commands.md from the command line itself: `python -m benchmarks.figures.write_commands`."""

import re
from pathlib import Path
from typing import Any

import typer

from dynammo.cli import app
from dynammo.runtime.files import write_atomically

__all__ = ["commands_page"]

PAGE = Path("docs/commands.md")
HEAD = """# Commands

Every command says the same behind `--help`. This page is written from the commands by
`python -m benchmarks.figures.write_commands`. `dynammo --install-completion` completes words in your shell.

| exit status | it says |
|---|---|
| 0 | done |
| 1 | a mistake that you can mend, in one sentence on stderr |
| 2 | a word that the command does not know |
| 3 | `classify`: done, but some images could not be read |
| 130 | stopped by Ctrl-C |
"""


def commands_page() -> str:
    """The page, in Markdown."""
    group: Any = typer.main.get_command(app)
    shown = {name: command for name, command in group.commands.items() if not command.hidden}
    text = HEAD
    for panel in dict.fromkeys(command.rich_help_panel for command in shown.values()):
        text += f"\n## {panel}\n"
        for name, command in shown.items():
            if command.rich_help_panel == panel:
                text += _command(name, command)
    return text


def _command(name: str, command: Any) -> str:  # noqa: ANN401
    context = typer.Context(command, info_name=f"dynammo {name}")
    words, _, example = str(command.help).partition("For example:")
    usage = " ".join(f"dynammo {name} {' '.join(command.collect_usage_pieces(context))}".split())
    text = f"\n### dynammo {name}\n{_one_line(words)}\n\n```text\n{usage}\n```\n"
    if example:
        text += f"\nFor example: `{_one_line(example)}`\n"
    rows = [row for parameter in command.params if (row := _row(parameter, context))]
    return text + ("\n| word | meaning |\n|---|---|\n" + "".join(rows) if rows else "")


def _row(parameter: Any, context: typer.Context) -> str:  # noqa: ANN401
    if getattr(parameter, "hidden", False):
        return ""
    record = parameter.get_help_record(context)
    if record is None:
        return ""
    name, meaning = (_one_line(part).replace("|", "\\|") for part in record)
    return f"| `{name}` | {meaning} |\n"


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


if __name__ == "__main__":
    write_atomically(PAGE, lambda file: file.write(commands_page().encode()))
