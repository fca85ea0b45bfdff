"""Licences of what is needed: none GPL, LGPL in extras alone and named (make licences prints all of them)."""

from importlib import util
from importlib.metadata import distribution
from types import ModuleType

import pytest
from synthetic.datasets import ROOT


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = util.spec_from_file_location("licences", ROOT / ".ci" / "licences.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_licence_reaches_into_the_product(script: ModuleType) -> None:
    required = script.licences(script.needed("dynammo"))
    extras = frozenset(distribution("dynammo").metadata.get_all("Provides-Extra") or ())
    everything = script.licences(script.needed("dynammo", extras))
    assert {"torch", "monai", "mlflow", "numpy"} <= set(required) < set(everything)
    assert [name for name, licence in everything.items() if not licence] == []
    assert [name for name, licence in everything.items() if script.kind_of(licence) == "GPL"] == []
    lesser = [name for name, licence in everything.items() if script.kind_of(licence) == "LGPL"]
    assert not set(lesser) & set(required)
    text = (ROOT / "docs" / "security.md").read_text()
    assert all(f"`{name}`" in text for name in lesser)


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("MIT", "permissive"),
        ("GNU General Public License v3 (GPLv3)", "GPL"),
        ("GPL-2.0-only", "GPL"),
        ("MIT AND AGPL-3.0-or-later", "GPL"),
        ("GNU Affero General Public License", "GPL"),
        ("GNU Lesser General Public License v3", "LGPL"),
        ("LGPL-2.1-only AND (BSD-3-Clause OR GPL-2.0-only)", "LGPL"),
        ("(LGPL-2.1-only OR MPL-1.1) AND Zlib", "permissive"),
        ("BSD License; Apache Software License", "permissive"),
    ],
)
def test_licences_are_told_apart(script: ModuleType, licence: str, kind: str) -> None:
    assert script.kind_of(licence) == kind
