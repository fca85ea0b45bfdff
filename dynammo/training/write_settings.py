"""Write what is derived from the table of settings: `python -m dynammo.training.write_settings`, in a checkout.

MONAI resolves only ids that stand in a config's own text, so no expression in `train.yaml` could say "record them all",
and none in `increment.yaml` "take them all from the record": these lines are written out, and a test holds them equal
to the table.
"""

import json
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dynammo.errors import printable
from dynammo.training.settings import RECIPE, SECTIONS, SETTINGS, Setting, recorded_names

__all__ = ["written"]

ROOT = Path(__file__).resolve().parents[2]
NO_BREAK = "\u00a0"


def written() -> dict[Path, str]:
    """The files of a checkout that are written from the table, with the text that they should have."""
    configs = ROOT / "bundle" / "configs"
    train, increment = ((configs / name).read_text(encoding="utf-8") for name in ("train.yaml", "increment.yaml"))
    return {
        configs / "train.yaml": _between(_between(train, "settings", _page()), "records", _records()),
        configs / "increment.yaml": _between(increment, "settings", _learnt()),
        ROOT / "docs" / "settings.md": _table(),
    }


def _between(text: str, mark: str, lines: list[str]) -> str:
    """The text with other lines between the comments `# <mark>, written by ...` and `# end of <mark>`."""
    start = f"# {mark}, written by `python -m dynammo.training.write_settings`\n"
    before, _, rest = text.partition(start)
    end = f"# end of {mark}\n"
    return before + start + "\n".join(lines) + "\n" + end + rest.partition(end)[2]


def _yaml(value: Any) -> str:  # noqa: ANN401
    plain = isinstance(value, str) and not value.startswith("$")
    return str(value) if plain else json.dumps(value)


def _page() -> list[str]:
    lines = []
    for title, settings in SECTIONS.items():
        lines += ["", f"# {title}"]
        lines += [f"{f'{s.name}: {_yaml(s.default)}':<28} # {_comment(s)}" for s in settings]
    return lines[1:]


def _comment(setting: Setting) -> str:
    return f"{setting.help} ({setting.rule.expected})" if setting.rule.choices else setting.help


def _records() -> list[str]:
    recorded = recorded_names(lambda setting: setting.record != "no")
    return [*_block("recipe", RECIPE), *_block("settings", recorded)]


def _block(key: str, names: Iterable[str]) -> list[str]:
    special = {setting.name: setting.recorded for setting in SETTINGS.values() if setting.recorded}
    values = [f'{name}: "{special.get(name, "@" + name)}"'.replace(" ", NO_BREAK) for name in names]
    lines = textwrap.wrap(f"{key}: {{{', '.join(values)}}}", 120, subsequent_indent="  ", break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines]


def _learnt() -> list[str]:
    return [f'{s.name}: "$@model.{_source(s)}"' for s in SETTINGS.values() if s.record == "model"]


def _source(setting: Setting) -> str:
    if setting.part == "recipe":
        return f"setting('recipe')[{setting.name!r}]"
    return f"setting({setting.name!r})"


def _table() -> str:
    text = """# Settings

Every one can be typed behind a training command (`--epochs 15`) or stand in an overlay. This page is written by
`python -m dynammo.training.write_settings` from the table of settings in `dynammo/training/settings.py`.

**Model**: in `run.json`, and a finished model that learns more goes on with it; *agree*: two models are combined only
where it is the same. **Resume**: whether it may differ when an unfinished run goes on: from the start of the
interrupted task with `--resume_changed True` (*task*), or always.
"""
    for title, settings in SECTIONS.items():
        text += f"\n## {title[0].upper()}{title[1:]}\n\n| setting | default | values | meaning | model | resume |\n"
        text += "|---|---|---|---|---|---|\n" + "".join(map(_row, settings))
    return text


def _row(setting: Setting) -> str:
    model = "agree" if setting.combines else "yes" if setting.record == "model" else ""
    resume = "" if setting.changes == "never" else setting.changes
    cells = (
        f"`{setting.name}`",
        f"`{_yaml(setting.default)}`",
        setting.rule.expected,
        setting.help.replace("<", "&lt;"),
        model,
        resume,
    )
    return "| " + " | ".join(cells) + " |\n"


def _main() -> None:
    for file, text in written().items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            print(f"written: {printable(file)}", file=sys.stderr)


if __name__ == "__main__":
    _main()
