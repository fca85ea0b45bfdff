import json
import math
import queue
from pathlib import Path

import numpy as np
import pytest
import torch

from dynammo.runtime.plain import decimals, expanded, percent, percent_or_words, plain, rounded, show_page


def test_plain_values_go_into_json_and_come_back() -> None:
    value = {
        "a": (1, np.float32(0.5), math.nan, math.inf), "b": {"c": np.arange(2), "d": torch.ones(2)}, 3: None,
        "path": Path("a/b"), "flag": np.bool_(True), "text": "Läsion",
    }  # fmt: skip
    expected = {
        "a": [1, 0.5, None, None], "b": {"c": [0, 1], "d": [1.0, 1.0]}, "3": None, "path": "a/b", "flag": True,
        "text": "Läsion",
    }  # fmt: skip
    assert plain(value) == expected == json.loads(json.dumps(plain(value), allow_nan=False))


def test_only_homes_that_there_are_stand_for_their_folders() -> None:
    assert expanded("~/a") == Path.home() / "a"
    for name in ("~nobody_of_that_name", "./~nobody_of_that_name/a", "a~"):
        assert expanded(name) == expanded(Path(name)) == Path(name)


def test_what_was_not_measured_is_said() -> None:
    for nothing in (None, math.nan, math.inf):
        assert rounded(nothing, 2) is None
        assert (percent(nothing), percent_or_words(nothing)) == ("-", "not measured")
    assert (rounded(0.12345, 2), percent(0.1234), percent_or_words(0, 0)) == (0.12, "12.3", "0 %")


def test_halves_go_up_as_people_round() -> None:
    assert [percent(share, 0) for share in (0.125, 0.145, 0.375, 0.5549999999999999, 0.005)] == [
        "13",
        "15",
        "38",
        "56",
        "1",
    ]
    assert [percent(share) for share in (0.0625, 0.8125, 1 / 3, 2 / 3, 1)] == ["6.3", "81.3", "33.3", "66.7", "100.0"]
    assert [rounded(value, 6) for value in (0.0078125, 1 / 3, 0.0000005, 1e308, -2.5e-6)] == [
        0.007813, 0.333333, 0.000001, 1e308, -0.000003
    ]  # fmt: skip
    assert [decimals(value, 1) for value in (-0.25, -0.04, 0, None, math.nan)] == ["-0.3", "0.0", "0.0", "-", "-"]


def test_a_page_is_shown_only_where_there_is_a_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr("webbrowser.open", shown.put)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.delenv("DISPLAY", raising=False)
    show_page("http://127.0.0.1:1")
    monkeypatch.setenv("DISPLAY", ":0")
    show_page("http://127.0.0.1:2")
    assert shown.get(timeout=60) == "http://127.0.0.1:2" and shown.empty()
