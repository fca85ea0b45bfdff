"""Refuse misspelt options and impossible values before anything is read or trained.

MONAI takes any `--name value` behind a bundle command and ignores what no config uses.
"""

import ast
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from monai.bundle import ConfigParser

from dynammo.errors import UserError

__all__ = ["check_options", "check_settings", "refuse_unknown_options"]

MONAI_OPTIONS = {"args_file", "config_file", "final_id", "init_id", "logging_file", "meta_file", "run_id", "tracking"}


def _whole(value: Any, least: int) -> bool:  # noqa: ANN401
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any, above: float) -> bool:  # noqa: ANN401
    return isinstance(value, int | float) and not isinstance(value, bool) and value > above


def _epochs(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, list | tuple) and all(_whole(epoch, 1) for epoch in value)


def _window(value: Any) -> bool:  # noqa: ANN401
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(_number(v, -1e9) for v in value)
        and (value[0] < value[1])
    )


def _one_of(*names: Any) -> "Rule":  # noqa: ANN401
    return (lambda value: value in names, " or ".join(map(str, names)))


Rule = tuple[Callable[[Any], bool], str]
FROM_1: Rule = (lambda value: _whole(value, 1), "a whole number from 1")
FROM_0: Rule = (lambda value: _whole(value, 0), "a whole number from 0")
RATE: Rule = (lambda value: _number(value, 0), "a number above 0, such as 0.01")
EPOCHS: Rule = (_epochs, 'a list of epochs, such as "[70,130]"')
SWITCH: Rule = _one_of(True, False)
RULES: dict[str, Rule] = {
    "epochs": FROM_0,
    "small_epochs": FROM_0,
    "batch_size": FROM_1,
    "image_size": FROM_1,
    "class_statistics": SWITCH,
    "cache_images": FROM_0,
    "head_copies": FROM_0,
    "head_refit": SWITCH,
    "head_epochs": FROM_0,
    "seed": FROM_0,
    "workers": FROM_0,
    "learning_rate": RATE,
    "head_learning_rate": RATE,
    "projection": FROM_0,
    "power": (lambda value: _number(value, 0) and value <= 1, "a number above 0, at most 1"),
    "distillation": (lambda value: _number(value, -1e-30), "a number from 0"),
    "weight_decay": (lambda value: _number(value, -1e-30), "a number from 0"),
    "milestones": EPOCHS,
    "head_milestones": EPOCHS,
    "spatial_dims": _one_of(2, 3),
    "volumes": _one_of("middle", "maximum", "slices"),
    "grey": _one_of("percentile", "window", "zscore"),
    "window": (_window, 'the lowest and the highest value shown, such as "[-160,240]"'),
    "crop_borders": SWITCH,
    "stain_normalisation": SWITCH,
    "colour_constancy": SWITCH,
    "allow_outside": SWITCH,
    "fresh": SWITCH,
    "resume_changed": SWITCH,
}


def check_settings(settings: Mapping[str, Any], device: str | torch.device = "cpu") -> None:
    """Check numbers and the device before images are read.

    Raises:
        UserError: a value of the wrong kind or range.
    """
    settings = {**settings, **settings.get("recipe", {})}
    for name, (allowed, expected) in RULES.items():
        if name in settings and not allowed(settings[name]):
            raise UserError(f"{name} is {settings[name]!r}; expected {expected}: type --{name} VALUE.")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).split("\n")[0]
        raise UserError(f"the device {device} cannot be used ({first_line}); type --device cpu or cuda:0.") from error


def refuse_unknown_options() -> None:
    """Check the options of `python -m monai.bundle run ...`; does nothing when MONAI is called from a program.

    Raises:
        UserError: an option that no config file on the command line knows.
    """
    if getattr(sys.modules["__main__"], "__package__", None) == "monai.bundle":
        check_options(sys.argv[1:])


def check_options(arguments: Sequence[str]) -> None:
    """Compare `--name value` or `--name=value` arguments with the ids of the config files among them.

    Raises:
        UserError: an option that no config file knows.
    """
    options: dict[str, str] = {}
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            options[name.split("#")[0].replace("-", "_")] = value if equals else following
    if "config_file" not in options:
        return
    known = {
        str(key).lstrip("+").split("#")[0] for key in ConfigParser.load_config_files(_files(options["config_file"]))
    }
    for name in sorted(options.keys() - known - MONAI_OPTIONS):
        raise UserError(f"--{name} is not an option of this bundle; {_suggestion(name, known)}")


def _files(value: str) -> list[str]:
    try:
        found = ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return [value]
    return [str(file) for file in found] if isinstance(found, list | tuple) else [value]


def _suggestion(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, sorted(known), n=3)
    if close:
        return "did you mean " + " or ".join(f"--{match}" for match in close) + "?"
    return "the options are the names at the top of its config file."
