"""What the flags of an item come to: three levels, the same in report, table, page and structured report."""

from collections import Counter
from collections.abc import Collection, Iterable

__all__ = ["FLAGS", "LEVELS", "count_levels", "level_of"]

LEVELS: dict[str, tuple[str, ...]] = {
    "do not use": ("unreadable", "looks different"),
    "check": ("unknown", "low confidence"),
    "fine": (),
}
"""The flags that lead to a level, the gravest level first; `fine` is what has none."""
FLAGS = tuple(flag for flags in LEVELS.values() for flag in flags)
"""All flags; what needs a look first, first."""


def level_of(flags: Collection[str]) -> str:
    """The level of an item: the gravest that one of its flags leads to.

    Args:
        flags: of the item; one that is not in `FLAGS`, of another version perhaps, asks for a check.
    """
    found = (level for level, leading in LEVELS.items() if not set(leading).isdisjoint(flags))
    return next(found, "check" if flags else "fine")


def count_levels(items: Iterable[Collection[str]]) -> dict[str, int]:
    """How many items are on each level, by their flags; every level is named."""
    found = Counter(map(level_of, items))
    return {level: found[level] for level in LEVELS}
