"""Refuse misspelt options and impossible values before anything is read or trained.

MONAI takes any `--name value` behind a bundle command and ignores what no config uses.
"""

import ast
import sys
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from monai.bundle import ConfigParser

from dynammo.errors import UserError
from dynammo.training.former_paths import refuse_former_paths
from dynammo.training.settings import METHODS, SETTINGS, refuse_removed

__all__ = ["check_options", "check_settings", "refuse_unknown_options"]

PATHS = {
    "adapters_from", "bundle_root", "cache_dir", "class_file", "data_list", "dataset_dir", "model_dir", "output_dir",
    "test_dir", "weights",
}  # fmt: skip
MONAI_OPTIONS = {"args_file", "config_file", "final_id", "init_id", "logging_file", "meta_file", "run_id", "tracking"}


def check_settings(settings: Mapping[str, Any], device: str | torch.device = "cpu") -> None:
    """Check values by the table of settings, and the device, before images are read.

    Raises:
        UserError: a value of the wrong kind or range, or a method that the other settings are not those of.
    """
    settings = {**settings, **settings.get("recipe", {})}
    for name, setting in SETTINGS.items():
        if name in settings:
            setting.check(settings[name])
    if "learnt_from" not in settings:  # a finished model keeps the name that it has
        _check_method(settings)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first_line = str(error).split("\n")[0]
        raise UserError(f"the device {device} cannot be used ({first_line}); type --device cpu or cuda:0.") from error


def _check_method(settings: Mapping[str, Any]) -> None:
    """Refuse the name of one method for the settings of another: records and model cards tell the name."""
    method = settings.get("method")
    for name, rule in METHODS.get(str(method), {}).items():
        if name in settings and rule.allows is not None and not rule.allows(settings[name]):
            raise UserError(
                f"the method is {method}, but {name} is {settings[name]!r} (expected {rule.expected}), so it would be "
                f"another one; add '$(dynammo config {method})' to --config_file, last, or type --method NAME with "
                "a name of your own."
            )


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
        UserError: an option that no config file knows; a setting that was removed, or a path of a class in 0.1, in a
            config file too.
    """
    options: dict[str, str] = {}
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument.startswith("--"):
            name, equals, value = argument[2:].partition("=")
            options[name.split("#")[0].replace("-", "_")] = value if equals else following
    _refuse_changed_paths(options)
    if "config_file" not in options:
        return
    config = ConfigParser.load_config_files(_files(options["config_file"]))
    known = {str(key).lstrip("+").split("#")[0] for key in config}
    refuse_removed(known | options.keys())
    refuse_former_paths(config)
    for name in sorted(options.keys() - known - MONAI_OPTIONS):
        raise UserError(f"--{name} is not an option of this bundle; {_suggestion(name, known)}")


def _refuse_changed_paths(options: Mapping[str, str]) -> None:
    """Refuse names of folders that MONAI reads otherwise than they are typed; an expression is what it is."""
    for name in sorted(PATHS & options.keys()):
        value = options[name]
        if value.startswith(("@", "%")):
            raise UserError(
                f"--{name} {value} is a value of the config to MONAI; type --{name} ./{value} for a folder."
            )
        if "#" in value and not value.startswith("$"):
            raise UserError(
                f"--{name} {value} holds #, of which MONAI makes ::; rename the folder, or give a link to it."
            )


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
