"""Files of earlier versions are read under today's names."""

import torch

from dynammo.runtime.aliases import ALIASES, current_names


def test_modules_and_their_buffers_have_new_names() -> None:
    state = {"looks.means": torch.ones(2), "backbone.stem.0.weight": torch.zeros(1)}
    assert list(current_names(state)) == ["out_of_distribution.means", "backbone.stem.0.weight"]


def test_handlers_and_trust_have_new_names() -> None:
    state = {"handlers": {"LearnLooks": {"labels": 1}, "MergeAdapters": {}}, "trust": {"looks_threshold": 3.0}}
    assert current_names(state) == {
        "handlers": {"FitOutOfDistribution": {"labels": 1}, "MergeAdapters": {}},
        "trust": {"out_of_distribution_threshold": 3.0},
    }


def test_a_class_may_bear_a_former_name() -> None:
    record = {"classes": ["looks"], "images": {"looks": 7}, "memory": {0: "looks"}}
    assert current_names(record) == record


def test_names_of_today_stay() -> None:
    names = {name: 1 for name in ALIASES.values()}
    assert current_names({"trust": names, "handlers": names, **names}) == {"trust": names, "handlers": names, **names}
