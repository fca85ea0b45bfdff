"""Text of others in configs is data, and in files of a bundle it means nothing to MONAI."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.bundle import ConfigParser

from dynammo.export.monai_label_app.lib.bundle_checks import _original
from dynammo.runtime.config import config_with, inert, original

TEXTS = (
    "$__import__('os').system('touch ran')", "$import os", "$5_group", "@rest", "@a", "@a::b", "@#a", "@:#a",
    "%_over_70", "%a", "x#y",
    "a::b", "100%#x", "mail@::y", "_target_", "_mode_", "_disabled_", "\\", "\\$x", "@\\#", "plain",
)  # fmt: skip
VALUES = [*TEXTS, list(TEXTS), {text: text for text in TEXTS}, {"_target_": "os.mkdir", "path": "ran", "mode": 511}]


@pytest.mark.parametrize("value", VALUES, ids=str)
def test_values_are_taken_as_they_are(value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("a: 1\nb: {c: 2}\nsame: '@a'\nlist: ['@b#c']\nagain: '%a'\n")
    parser = config_with([tmp_path / "config.yaml"], {"a": value, "b#c": value})
    for name in ("a", "same", "again", "b#c"):
        assert parser.get_parsed_content(name) == value
    assert parser.get_parsed_content("list") == [value]
    assert not (tmp_path / "ran").exists()


PIECES = st.text(st.sampled_from("$@%_\\#:ab"), max_size=8) | st.sampled_from(TEXTS)
PLAIN = st.recursive(
    PIECES | st.none() | st.integers(), lambda i: st.lists(i) | st.dictionaries(PIECES, i), max_leaves=6
)


def without_number_signs(value: Any) -> Any:  # noqa: ANN401
    """What MONAI makes of every text."""
    if isinstance(value, dict):
        return {key: without_number_signs(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_number_signs(item) for item in value]
    return value.replace("#", "::") if isinstance(value, str) else value


@given(PLAIN)
def test_what_is_inert_is_left_alone_by_monai_and_comes_back(value: object) -> None:
    quiet = inert(value)
    assert original(quiet) == value == _original(quiet)
    parsed = ConfigParser({"it": json.loads(json.dumps(quiet))}).get_parsed_content("it")
    assert parsed == without_number_signs(quiet)


def test_common_text_stays_as_it_is() -> None:
    assert inert(["MEL", "a@b", "5 %", "x#y", "a::b", 3]) == ["MEL", "a@b", "5 %", "x#y", "a::b", 3]
    assert inert({"@rest": "_target_"}) == {"\\@rest": "\\_target_"}
