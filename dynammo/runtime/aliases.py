"""Former names in files that are still read: checkpoints, contributions, exported states and records."""

from collections.abc import Mapping
from typing import Any

__all__ = ["ALIASES", "current_names"]

ALIASES = {
    "LearnLooks": "FitOutOfDistribution",
    "TakeAdapters": "ReuseAdapters",
    "held_back_images": "held_out_images",
    "looks": "out_of_distribution",
    "looks_false_alarm_rate": "out_of_distribution_false_alarm_rate",
    "looks_threshold": "out_of_distribution_threshold",
}
"""Name in 0.1 to name now: of handlers, of modules and their buffers (`looks.means`), of entries in `trust`."""
PARTS = ("handlers", "network", "trust")  # hold names of ours; what else is nested may be keyed by class names


def current_names(state: Any) -> Any:  # noqa: ANN401
    """A state or record under the names of this version; what is no mapping stays as it is.

    Args:
        state: state dict, learning state, contribution or `run.json`, of any version.
    """
    if not isinstance(state, Mapping):
        return state
    return {_current(key): current_names(value) if key in PARTS else value for key, value in state.items()}


def _current(key: Any) -> Any:  # noqa: ANN401
    if not isinstance(key, str):
        return key
    first, dot, rest = key.partition(".")
    return ALIASES.get(first, first) + dot + rest
