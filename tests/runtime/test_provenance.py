"""Where a result comes from."""

import sys
from datetime import datetime, timedelta, timezone

import pytest
import torch
from packaging.version import Version

from dynammo import __version__
from dynammo.runtime import provenance


def test_a_result_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/dynammo", "classify", "-i", "a b"])
    origin = provenance.origin()
    assert origin["versions"]["dynammo"] == __version__
    # of torch the package may be 2.13.0 where the module says 2.13.0+cu130
    assert Version(origin["versions"]["torch"]).public == Version(torch.__version__).public
    assert origin["command"].endswith("classify -i 'a b'")
    assert "somewhere" not in origin["command"], "where a user keeps programs is nobody's business"
    assert f"{torch.get_num_threads()} threads" in origin["machine"]
    assert datetime.now(timezone.utc) - datetime.fromisoformat(origin["date"]) < timedelta(minutes=1)
