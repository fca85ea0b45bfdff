"""Where a result comes from."""

import sys
from datetime import datetime, timedelta, timezone

import pytest
import torch

from dynammo import __version__
from dynammo.runtime import provenance


def test_a_result_says_where_it_comes_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/dynammo", "classify", "-i", "a b"])
    origin = provenance.origin()
    assert origin["versions"]["dynammo"] == __version__
    assert origin["versions"]["torch"] == torch.__version__
    assert origin["command"].endswith("classify -i 'a b'")
    assert "somewhere" not in origin["command"], "where a user keeps programs is nobody's business"
    assert f"{torch.get_num_threads()} threads" in origin["machine"]
    assert datetime.now(timezone.utc) - datetime.fromisoformat(origin["date"]) < timedelta(minutes=1)
