"""Rooms offer names that configs and users may rely on, and import nothing until they are asked for."""

import subprocess
import sys
from importlib import import_module

import pytest
from synthetic.datasets import ROOT

from dynammo.runtime.faces import look_up

ROOMS = sorted(file.parent.name for file in (ROOT / "dynammo").glob("*/__init__.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_what_it_offers(room: str) -> None:
    package = import_module(f"dynammo.{room}")
    for name in package.FACE:
        assert getattr(package, name).__name__ == name if callable(getattr(package, name)) else True
    assert set(package.__all__) == set(package.FACE)


def test_a_name_that_is_not_offered_is_an_attribute_error_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"dynammo\.io has no read; it offers .*read_image"):
        look_up("dynammo.io", {"read_image": "image_reader"}, "read")


def test_rooms_are_light() -> None:
    code = f"import sys; {'; '.join(f'import dynammo.{room}' for room in ROOMS)}; print(sorted(sys.modules))"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not any(f"'{name}'" in seen for name in ("torch", "monai", "numpy", "mlflow", "dynammo.merging"))
