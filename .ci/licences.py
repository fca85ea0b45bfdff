#!/usr/bin/env python3
"""The licence of every package that dynammo needs, and of those that its extras add (make licences).

Read from what the installed packages say of themselves; a licence that may be chosen among several counts as the
mildest of them. Exits with 1 where one is GPL or AGPL, or where a package that is always needed is LGPL.
"""

import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["KINDS", "kind_of", "licences", "needed"]

KINDS = ("permissive", "LGPL", "GPL")
NAMED = {  # what their own metadata leave open, looked up in their licence files
    "axe-playwright-python": "MIT AND MPL-2.0",  # the latter: axe-core, which it carries
    "cuda-toolkit": "NVIDIA Proprietary Software",  # comes with torch's builds for NVIDIA
    "huey": "MIT",
    "skops": "MIT",
}
GPL = re.compile(r"(?<!L)GPL|(?<!lesser )general public|affero", re.IGNORECASE)
LGPL = re.compile(r"LGPL|lesser general public", re.IGNORECASE)


def needed(name: str, extras: frozenset[str] = frozenset()) -> dict[str, Distribution]:
    """The installed packages that a package with these extras needs, itself and what they need in turn included."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(name, extra) for extra in ("", *extras)]
    while waiting:
        package, extra = waiting.pop()
        key = canonicalize_name(package)
        if (key, extra) in seen:
            continue
        seen.add((key, extra))
        try:
            found[key] = distribution(package)
        except PackageNotFoundError:  # of another system, or an extra that is not installed
            continue
        for line in found[key].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(requirement.name, more) for more in ("", *requirement.extras)]
    return found


def licences(packages: dict[str, Distribution]) -> dict[str, str]:
    """The licence of each package by its name, "" where it states none."""
    return {name: NAMED.get(name) or _stated(package) for name, package in sorted(packages.items())}


def kind_of(licence: str) -> str:
    """One of `KINDS`: the strictest of the licences that apply together, of alternatives the mildest."""
    parts = re.split(r"\s+AND\s+|;", licence)
    return KINDS[max(min(_rank(choice) for choice in re.split(r"\s+OR\s+", part)) for part in parts)]


def _rank(licence: str) -> int:
    return 2 if GPL.search(licence) else 1 if LGPL.search(licence) else 0


def _stated(package: Distribution) -> str:
    """What a package says of its licence, where it is most exact."""
    said = {key: package.metadata.get_all(key) or [] for key in ("License-Expression", "Classifier", "License")}
    said["Classifier"] = [line.split(" :: ")[-1] for line in said["Classifier"] if line.startswith("License ::")]
    return next(filter(None, map("; ".join, said.values())), "")


def main() -> None:
    """Print the table."""
    required = licences(needed("dynammo"))
    extras = frozenset(distribution("dynammo").metadata.get_all("Provides-Extra") or ())
    everything = licences(needed("dynammo", extras))
    bad = []
    for name, licence in everything.items():
        kind, always = kind_of(licence), name in required
        shown = " ".join(licence.split())[:80] or "not stated"
        print(f"{name:32}{'always' if always else 'extras':8}{kind:12}{shown}")
        if kind == "GPL" or (always and kind == "LGPL"):
            bad.append(name)
    sys.exit(f"not permitted: {', '.join(bad)}" if bad else 0)


if __name__ == "__main__":
    main()
