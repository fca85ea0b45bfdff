import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dynammo.heads.linear import grow_head, join_heads, tune_heads

SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def paper_choice(logits: list[torch.Tensor]) -> int:
    """The rule as the paper words it: the head with the smallest "others" wins, then the argmax of its classes."""
    heads = [torch.softmax(head[0], 0) for head in logits]
    winner = min(range(len(heads)), key=lambda i: float(heads[i][-1]))
    return sum(len(head) - 1 for head in heads[:winner]) + int(heads[winner][:-1].argmax())


@settings(deadline=None)
@given(SIZES, st.integers(0, 10_000))
def test_joined_heads_choose_as_the_paper_does(sizes: list[int], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = [3 * torch.randn(1, size + 1, generator=generator, dtype=torch.float64) for size in sizes]
    probabilities, unknown = join_heads(logits, others=True)
    assert probabilities.shape == (1, sum(sizes))
    assert math.isclose(float(probabilities.sum()), 1, rel_tol=1e-9)
    assert int(probabilities.argmax()) == paper_choice(logits)
    smallest = min(float(torch.softmax(head[0], 0)[-1]) for head in logits)
    assert math.isclose(float(unknown), smallest, rel_tol=1e-9)


def test_extreme_logits_stay_finite() -> None:
    logits = [torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([[-1e4, -1e4, 1e4]])]
    probabilities, unknown = join_heads(logits, others=True)
    assert torch.isfinite(probabilities).all() and torch.isfinite(unknown).all()
    assert probabilities.argmax() == 0


def test_one_head_over_all_classes_is_a_softmax() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])
    probabilities, unknown = join_heads([logits], others=False)
    torch.testing.assert_close(probabilities, torch.tensor([[0.25, 0.75]]))
    torch.testing.assert_close(unknown, torch.tensor([[0.25]]))


def test_a_grown_head_keeps_its_rows() -> None:
    head = nn.Linear(4, 2)
    grown = grow_head(head, 4, 5)
    assert grown.out_features == 5
    assert torch.equal(grown.weight[:2], head.weight) and torch.equal(grown.bias[:2], head.bias)


def test_tuning_learns_to_send_others_away() -> None:
    torch.manual_seed(0)
    centres = torch.eye(4) * 4
    features = (centres.repeat_interleave(20, 0) + 0.3 * torch.randn(80, 4)).contiguous()
    labels = torch.arange(4).repeat_interleave(20)
    targets = [torch.where(labels < 2, labels, 2), torch.where(labels >= 2, labels - 2, 2)]
    heads = nn.ModuleList([nn.Linear(4, 3), nn.Linear(4, 3)])
    untouched = [p.clone() for p in heads.parameters()]
    assert math.isnan(tune_heads(heads, [features], targets, epochs=0))
    assert all(torch.equal(a, b) for a, b in zip(untouched, heads.parameters(), strict=True))
    assert tune_heads(heads, [features], targets, epochs=60, learning_rate=0.05) < 0.2
    probabilities, unknown = join_heads([head(features) for head in heads], others=True)
    assert (probabilities.argmax(1) == labels).float().mean() > 0.95
    assert unknown.median() < 0.3


def test_even_draws_give_a_rare_class_its_due() -> None:
    """Two classes that overlap: a plain fit prefers the one with many images, an even one does not."""
    generator = torch.Generator().manual_seed(0)
    labels = (torch.arange(220) >= 200).long()
    features = torch.randn(220, 1, generator=generator) + 1.0 * labels[:, None]
    recalls = {}
    for even in (False, True):
        torch.manual_seed(0)
        heads = nn.ModuleList([nn.Linear(1, 2)])
        tune_heads(heads, [features], [labels], epochs=40, learning_rate=0.05, even=even)
        chosen = heads[0](features).argmax(1)
        recalls[even] = float((chosen[labels == 1] == 1).float().mean())
    assert recalls[False] < 0.3 and recalls[True] > 0.5
