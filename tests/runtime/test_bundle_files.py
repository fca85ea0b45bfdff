import sys
from pathlib import Path

import pytest
from synthetic.datasets import ROOT

from dynammo.errors import UserError
from dynammo.runtime.bundle_files import bundle_config


def test_configs_of_the_bundle_are_found_in_a_checkout_and_in_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dynammo.runtime import bundle_files

    assert bundle_config("inference.yaml") == ROOT / "bundle" / "configs" / "inference.yaml"
    with pytest.raises(UserError, match=r"configs/no\.yaml"):
        bundle_config("no.yaml")
    monkeypatch.setattr(bundle_files, "__file__", str(tmp_path / "lib" / "dynammo" / "runtime" / "bundle_files.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    installed = tmp_path / "share" / "dynammo" / "bundle" / "configs" / "inference.yaml"
    installed.parent.mkdir(parents=True)
    installed.touch()
    assert bundle_config("inference.yaml") == installed
