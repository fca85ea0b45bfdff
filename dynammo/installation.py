"""What is installed: packages that must be there, extras, decoders of DICOM images; nothing heavy is imported."""

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement

__all__ = ["Check", "State", "check_decoders", "check_extras", "check_packages", "check_python"]

State = Literal["ok", "missing", "fails"]
SHOWN = ("torch", "monai", "pydicom", "pillow", "nibabel")  # with their versions; the others are counted
EXTRAS = {  # what an extra is for; those of developers are not spoken of
    "clinic": "DICOM structured reports",
    "slides": "whole slides",
    "serve": "page to drop images on",
}
COMPRESSED = {  # names of transfer syntaxes in pydicom.uid, one for each decoder, and what brings it
    "RLE": ("RLELossless", "pylibjpeg pylibjpeg-rle"),
    "JPEG": ("JPEGBaseline8Bit", "pillow"),
    "JPEG 12 bit": ("JPEGExtended12Bit", "python-gdcm"),
    "JPEG lossless": ("JPEGLosslessSV1", "python-gdcm"),
    "JPEG-LS": ("JPEGLSLossless", "pyjpegls"),
    "JPEG 2000": ("JPEG2000", "pylibjpeg pylibjpeg-openjpeg"),
    "HTJ2K": ("HTJ2K", "pylibjpeg pylibjpeg-openjpeg"),
}


@dataclass(frozen=True)
class Check:
    """One line of the screen.

    Attributes:
        name: what was looked at.
        state: ok; missing, something cannot be done; fails, nothing can be classified.
        detail: what was found, or what to type.
    """

    name: str
    state: State
    detail: str


def check_python() -> Check:
    """Python and dynammo itself."""
    here = platform.python_version()
    try:
        wanted = Requirement(f"python{metadata('dynammo')['Requires-Python']}")
    except PackageNotFoundError:
        return Check("Python", "fails", f"{here}; dynammo is not installed: pip install -e . in its folder")
    if here not in wanted.specifier:
        return Check("Python", "fails", f"{here}; needed is {wanted.specifier}: make PYTHON=python3.12")
    return Check("Python", "ok", f"{here}, dynammo {version('dynammo')}")


def check_packages() -> list[Check]:
    """Packages without which nothing is classified: the main ones, the faulty ones, and how many others are there."""
    needed = [r for r in _requirements() if r.marker is None or r.marker.evaluate({"extra": ""})]
    unmet = [r for r in needed if _unmet(r)]
    shown = [f"{r.name} {version(r.name)}" for r in needed if r.name in SHOWN and r not in unmet]
    others = len(needed) - len(unmet) - len(shown)
    found = Check("packages", "ok", f"{', '.join(shown)} and {others} others")
    return [found, *(Check(r.name, "fails", _how_to_mend([r])) for r in unmet)]


def check_extras() -> list[Check]:
    """Extras: packages that some commands need."""
    checks = []
    for extra, purpose in EXTRAS.items():
        wanted = [r for r in _requirements() if r.marker and _is_of(r, extra)]
        if not wanted:
            continue
        unmet = [r for r in wanted if _unmet(r)]
        detail = (
            f"for that: {_how_to_mend(unmet)}" if unmet else ", ".join(f"{r.name} {version(r.name)}" for r in wanted)
        )
        checks.append(Check(purpose, "missing" if unmet else "ok", detail))
    return checks


def check_decoders() -> list[Check]:
    """Which compressed DICOM images can be decoded, by the decoder that the reader takes for each."""
    try:
        from pydicom import uid
        from pydicom.pixels import get_decoder

        from dynammo.io.dicom import PLUGINS
    except ImportError as error:
        package = {"gdcm": "python-gdcm", "PIL": "pillow"}.get(str(error.name), str(error.name))
        return [Check("DICOM", "fails", f"images cannot be read without {package}: pip install {package}")]
    lacking = {}
    for name, (keyword, packages) in COMPRESSED.items():
        syntax = getattr(uid, keyword)
        if PLUGINS[syntax] not in get_decoder(syntax).available_plugins:
            lacking[name] = packages
    there = ", ".join(["uncompressed", *(name for name in COMPRESSED if name not in lacking)])
    missing = [
        Check(f"DICOM {name}", "missing", f"such images cannot be read: pip install {packages}")
        for name, packages in lacking.items()
    ]
    return [Check("DICOM decoders", "ok", there), *missing]


def _requirements() -> list[Requirement]:
    found = []
    try:
        lines = requires("dynammo") or []
    except PackageNotFoundError:
        lines = []
    for line in lines:
        try:
            found.append(Requirement(line))
        except InvalidRequirement:
            continue
    return found


def _is_of(requirement: Requirement, extra: str) -> bool:
    marker = requirement.marker
    return marker is not None and marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _unmet(requirement: Requirement) -> bool:
    try:
        return not requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return True


def _how_to_mend(requirements: Iterable[Requirement]) -> str:
    return "pip install " + " ".join(f'"{r.name}{r.specifier}"' if r.specifier else r.name for r in requirements)
