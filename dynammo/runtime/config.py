"""Text of others beside MONAI's configs: in a config as data, in a file of a bundle without a meaning for MONAI.

MONAI evaluates every text of a config: `$...` is Python, `@id` a reference, `%id` a macro, a dict with `_target_` a
call. Names of classes and folders, labels and what records say come from other people, so they never stand in one.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser

__all__ = ["config_with", "inert", "original"]

READ_AT_START = ("$", "@", "%", "_", "\\")
RELATIVE = re.compile(r"[@%](?=:?#|::)")  # MONAI, to which # is ::, puts an id in its place wherever it stands
ESCAPED = re.compile(r"\\|[@%](?=:?#|::)")


def config_with(files: Sequence[Path], values: Mapping[str, Any]) -> ConfigParser:
    """A parser of config files in which some ids have values of others: these are never parsed, whatever they hold.

    Args:
        files: configs, the later over the earlier.
        values: by id, of our own choice; `#` goes one level down.
    """
    parser = ConfigParser(globals={"given": list(values.values())})  # only expressions see it, and take it as it is
    parser.read_config([str(file) for file in files])
    parser.update({name: f"$given[{number}]" for number, name in enumerate(values)})
    return parser


def inert(value: Any) -> Any:  # noqa: ANN401
    """A copy of plain values whose text and keys mean nothing to MONAI; `original` gives the same values back.

    A text that MONAI would read, or that starts with a backslash, gets one in front; in it a backslash stands behind
    every other one, and behind what makes a relative id. All other text stays as it is.
    """
    if isinstance(value, dict):
        return {inert(key): inert(item) for key, item in value.items()}
    if isinstance(value, list):
        return [inert(item) for item in value]
    if not isinstance(value, str) or not (value.startswith(READ_AT_START) or RELATIVE.search(value)):
        return value
    return "\\" + ESCAPED.sub(r"\g<0>\\", value)


def original(value: Any) -> Any:  # noqa: ANN401
    """What was given to `inert`."""
    if isinstance(value, dict):
        return {original(key): original(item) for key, item in value.items()}
    if isinstance(value, list):
        return [original(item) for item in value]
    return re.sub(r"([\\@%])\\", r"\1", value[1:]) if isinstance(value, str) and value.startswith("\\") else value
