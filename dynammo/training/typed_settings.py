"""What a person types of a training, as settings of its configs; nothing heavy is imported for it."""

import re
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from dynammo.errors import UserError
from dynammo.runtime.bundle_files import shipped_config
from dynammo.runtime.plain import expanded
from dynammo.training.settings import REMOVED

__all__ = ["check_ids", "config_ids", "find_overlay", "parse_value", "replaced_adapter", "weights_of", "what_follows"]

FROM_ENCODER = {"image_size", "stages", "taps"}
WEIGHTS = ("imagenet", "first_task", "own")


def parse_value(text: str) -> tuple[str, Any]:
    """`KEY=VALUE` as it is typed behind `--set`; the value is read as YAML.

    Raises:
        UserError: no `=`, or no YAML.
    """
    name, equals, value = text.partition("=")
    try:
        if not equals or not name.strip():
            raise ValueError
        return name.strip().replace("-", "_"), yaml.safe_load(value)
    except (ValueError, yaml.YAMLError):
        raise UserError(f"--set {text} is no setting; expected KEY=VALUE, such as --set image_size=96.") from None


def find_overlay(kind: str, name: str) -> Path:
    """A shipped config of a kind (methods, recipes), or the YAML file of that name.

    Raises:
        UserError: there is none.
    """
    if name.endswith((".yaml", ".yml", ".json")):
        if not Path(name).is_file():
            raise UserError(f"there is no config file {name}; give the name of a shipped one or a YAML file.")
        return Path(name)
    return shipped_config(f"{kind}/{name}" if kind else name)


def config_ids(file: Path) -> dict[str, Any]:
    """The ids of a config file and their text.

    Raises:
        UserError: no config.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"{file} is no config ({type(error).__name__}); expected YAML or JSON.") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is no config; expected names and values, such as `epochs: 15`.")
    return content


def check_ids(values: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse ids that no config knows.

    Raises:
        UserError: one that was taken out, or never was.
    """
    for name in values:
        first = re.split("#|::", name)[0]
        if first in REMOVED:
            raise UserError(f"{first} {REMOVED[first]}; leave it out.")
        if first not in known:
            close = get_close_matches(first, sorted(known), n=3)
            hint = (
                f"did you mean {' or '.join(close)}?" if close else "dynammo config train names the file of them all."
            )
            raise UserError(f"{name} is not a setting of train.yaml; {hint}")


def weights_of(weights: str | None, backbone: str | None) -> str | None:
    """The setting `weights` that was typed for a backbone; None where nothing was.

    Raises:
        UserError: no such file.
    """
    if weights is None:
        return "own" if backbone is not None and ":" in backbone else None
    if weights not in WEIGHTS and not expanded(weights).is_file():
        raise UserError(f"there is no file of weights {weights}; give --weights a file, or imagenet.")
    return weights if weights in WEIGHTS else str(expanded(weights))


def what_follows(
    shown: Mapping[str, Any], said: Collection[str], typed: Collection[str]
) -> tuple[Path | None, frozenset[str]]:
    """What follows from the backbone, since nothing else was said.

    Args:
        shown: all settings as they would be.
        said: names of those that overlays or a person chose.
        typed: of these, those that a person chose: `taps` of a method are those of a ResNet.

    Returns:
        The file of weights from which the number of stages follows, or None; and the settings that follow from an
        encoder of others.
    """
    chosen = {name for name in said if name != "taps"} | {*typed}
    if _of_others(shown):
        return None, frozenset(FROM_ENCODER - chosen)
    weights = str(shown["weights"])
    file = weights not in WEIGHTS and not weights.startswith("$") and "stages" not in chosen
    return Path(weights) if file else None, frozenset()


def replaced_adapter(shown: Mapping[str, Any], typed: bool) -> str | None:
    """What takes the place of the paper's adapter in an encoder of others; None where nothing does.

    `low_rank` works in all of them and costs nothing once it is merged; where adapters stay apart, the paper's is left,
    for encoders with stages of maps.

    Args:
        shown: all settings as they would be.
        typed: whether a person asked for this adapter.
    """
    kept = typed or shown["merge_strategy"] == "none"
    return "low_rank" if _of_others(shown) and shown["adapter"] == "conv" and not kept else None


def _of_others(shown: Mapping[str, Any]) -> bool:
    """Whether the backbone is an encoder of others; vectors, whose width an expression tells, are none."""
    name = str(shown["architecture"])
    return ":" in name and not name.startswith("$")
