import pytest
import torch

from dynammo.data.tasks import TaskSequence
from dynammo.errors import UserError
from dynammo.heads.linear import BackgroundScore
from dynammo.merging import STRATEGIES
from dynammo.networks.adapters import copy_state
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.networks.out_of_distribution import OutOfDistribution

TASKS = TaskSequence(list("abcde"), [2, 1, 2])


def grown(head_layout: str = "others", merged: bool = True) -> IncrementalNetwork:
    """A network of random adapters after three tasks."""
    torch.manual_seed(0)
    network = IncrementalNetwork(stages=2, weights="first_task", image_size=32, head_layout=head_layout)
    states = []
    for task in TASKS:
        network.start_task(len(task.classes), task.seen)
        for parameter in network.adapters.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        states.append(copy_state(network.adapters))
    network.set_branches(states[-1:] if merged else states)
    return network.eval()


def test_adapters_hardly_change_anything_at_birth() -> None:
    network = IncrementalNetwork(stages=2, weights="first_task", image_size=32).eval()
    network.start_task(len(TASKS[0].classes), TASKS[0].seen)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        plain = network.heads[0](network.backbone(images))
        change = (network(images) - plain).abs().max() / plain.abs().max()
    assert change < 0.1


def test_every_strategy_of_equal_adapters_is_the_adapter() -> None:
    state = copy_state(grown().adapters)
    for name, strategy in STRATEGIES.items():
        if strategy.merge is None or strategy.importance:
            continue
        merged = strategy.merge(
            [state, state, state], [1.0, 1.0, 1.0], {k: torch.zeros_like(v) for k, v in state.items()}
        )
        for key, value in state.items():
            torch.testing.assert_close(merged[key], value, msg=f"{name}: {key}")


def test_only_adapters_and_head_are_trained() -> None:
    network = grown()
    network.train()
    trained = {id(parameter) for parameter in network.trainable_parameters()}
    assert not any(id(p) in trained or p.requires_grad for p in network.backbone.parameters())
    assert network(torch.randn(4, 3, 32, 32)).shape == (4, 3)


def test_a_softmax_head_keeps_old_classes_in_their_place() -> None:
    network = IncrementalNetwork(stages=1, weights="first_task", image_size=32, head_layout="softmax")
    network.start_task(len(TASKS[0].classes), TASKS[0].seen)
    old = network.heads[0].weight.detach().clone()
    network.start_task(len(TASKS[1].classes), TASKS[1].seen)
    assert torch.equal(network.heads[0].weight[:2], old)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"image_size": 32, "stages": 4}, "image_size 32 leaves 2 pixels at the adapter before layer4"),
        ({"adapter": "prompt"}, "adapter is 'prompt'; expected one of conv, none, low_rank"),
        ({"head_layout": "cosine"}, "expected one of others, softmax, analytic"),
    ],
)
def test_mistakes_are_explained(settings: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        IncrementalNetwork(weights="first_task", **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("adapter", ["conv", "none", "low_rank", "scale_shift"])
@pytest.mark.parametrize(
    ("head_layout", "merged"), [("others", True), ("others", False), ("softmax", True), ("analytic", True)]
)
def test_the_learnt_state_brings_back_what_ships(adapter: str, head_layout: str, merged: bool) -> None:
    def fresh(seed: int) -> IncrementalNetwork:
        torch.manual_seed(seed)
        return IncrementalNetwork(
            stages=2, weights="first_task", image_size=32, adapter=adapter, head_layout=head_layout,
            pooling={"projection": 24},
        )  # fmt: skip

    network, again = fresh(0), fresh(1)
    states = []
    for task in TASKS:
        network.start_task(len(task.classes), task.seen)
        for parameter in network.adapters.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        states.append(network.adapter_state())
    network.set_branches(states[-1:] if merged or network.foldable else states)
    if head_layout == "analytic":
        score = BackgroundScore(5)
        score.shift.normal_()
        network.set_analytic_head(torch.nn.Linear(24, 5), score)
    network.out_of_distribution, network.temperature = OutOfDistribution(5, 128), 1.7
    network.out_of_distribution.means.normal_()
    again.load_learnt_state({**network.learnt_state(), "backbone": network.backbone.state_dict()})
    assert again.classifier_spec() == network.classifier_spec()
    first, second = network.classifier().state_dict(), again.classifier().state_dict()
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    assert all(
        torch.equal(a, b) for a, b in zip(network.adapters.parameters(), again.adapters.parameters(), strict=True)
    )
