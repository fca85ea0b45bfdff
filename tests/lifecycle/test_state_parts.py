"""Parts of a learning state, apart and together."""

import math

import torch
from torch import nn

from dynammo.lifecycle.state_parts import heads_of, heads_together, relabelled, threshold_parts, unmeasured


def test_heads_come_apart_and_together() -> None:
    heads = nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 2)])
    apart = heads_of({"heads": heads.state_dict()})
    assert [head["weight"].shape for head in apart] == [(3, 4), (2, 4)]
    together = heads_together(apart[::-1])
    assert torch.equal(together["0.bias"], heads[1].bias) and torch.equal(together["1.weight"], heads[0].weight)


def test_exemplars_follow_their_class_and_those_of_a_forgotten_one_go() -> None:
    memory = {"0": [["a.png", "a"]], "2": [["c.png", "c"]]}
    assert relabelled(memory, {0: 1}) == {"1": [["a.png", "a"]]}


def test_thresholds_are_weighed_by_the_images_behind_them() -> None:
    handler, trust = threshold_parts([(0.2, 10), (0.5, 30)])
    assert handler["found"] == [[0.2, 10], [0.5, 30]]
    assert math.isclose(trust["unknown_threshold"], 0.425)


def test_what_no_image_has_measured_is_not_a_number() -> None:
    result = unmeasured(1, 2, 3)
    assert math.isnan(result["accuracy"]) and len(result["task_accuracy"]) == 2 and len(result["confusion"]) == 3
