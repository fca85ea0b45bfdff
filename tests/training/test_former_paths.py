"""Overlays of 0.1 that name a class where it was."""

import re
from importlib import import_module

import pytest
from synthetic.datasets import ROOT

from dynammo.errors import UserError
from dynammo.training.former_paths import FORMER_PATHS, refuse_former_paths


@pytest.mark.parametrize("former", sorted(FORMER_PATHS))
def test_the_sentence_gives_a_path_that_is_there(former: str) -> None:
    with pytest.raises(UserError, match=re.escape(FORMER_PATHS[former])):
        refuse_former_paths({"incremental": {"handlers": [{"_target_": former, "head": "lda"}]}})
    room, _, name = FORMER_PATHS[former].rpartition(".")
    assert callable(getattr(import_module(room), name))


def test_what_is_gone_is_said() -> None:
    with pytest.raises(UserError, match="taken out"):
        refuse_former_paths([{"_target_": "dynammo.growing_images.GrowImages"}])


def test_paths_of_today_and_of_others_pass() -> None:
    refuse_former_paths(
        {"a": {"_target_": "dynammo.handlers.MergeAdapters"}, "b": [{"_target_": "monai.data.Dataset"}, 1]}
    )


def test_the_table_of_the_docs_is_this_one() -> None:
    page = (ROOT / "docs" / "migration.md").read_text()
    assert dict(re.findall(r"\| `(dynammo\.\w+\.\w+)` \| `(dynammo\.\w+\.\w+)` \|", page)) == FORMER_PATHS
