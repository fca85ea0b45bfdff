from typing import Any

import pytest
import torch

from dynammo.data.tasks import TaskSequence
from dynammo.heads.linear import join_heads
from dynammo.networks.adapters import copy_state, fused
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.networks.merged_classifier import MergedClassifier

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


@pytest.mark.parametrize("merged", [True, False])
@pytest.mark.parametrize("head_layout", ["others", "softmax"])
def test_what_ships_is_probabilities_and_an_unknown_score(head_layout: str, merged: bool) -> None:
    shipped = grown(head_layout, merged).classifier()
    outputs = shipped(torch.randn(4, 3, 40, 32))
    assert outputs.shape == (4, 6)
    torch.testing.assert_close(outputs[:, :5].sum(1), torch.ones(4))
    assert ((outputs >= 0) & (outputs <= 1)).all()


def test_merged_network_equals_what_ships() -> None:
    network = grown()
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        x = network.backbone.stem(images)
        for adapter, layer in zip(network.branches[0], network.backbone.layers, strict=True):
            x = layer(adapter(x))
        features = x.mean((2, 3))
        probabilities, unknown = join_heads([head(features) for head in network.heads], others=True)
    shipped = network.classifier()
    torch.testing.assert_close(shipped(images), torch.cat([probabilities, unknown], 1), atol=1e-5, rtol=0)
    rebuilt = MergedClassifier(**network.classifier_spec()).eval()
    rebuilt.load_state_dict(shipped.state_dict())
    torch.testing.assert_close(rebuilt(images), shipped(images), atol=1e-5, rtol=0)


def test_torchscript_gives_the_same() -> None:
    shipped, images = grown(merged=False).classifier(), torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(torch.jit.script(shipped)(images), shipped(images), atol=1e-5, rtol=0)


@pytest.mark.parametrize("spec", [{"branches": 2, "heads": [2, 2]}, {"spatial_dims": 3}, {"architecture": "resnet50"}])
def test_fused_networks_give_the_same_without_batchnorm(spec: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = MergedClassifier(**{"heads": [2], "stages": 2, **spec}).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                torch.nn.init.uniform_(value, 0.8, 1.2)
    images = torch.randn(2, 3, *[32] * spec.get("spatial_dims", 2))
    folded = fused(network)
    torch.testing.assert_close(folded(images), network(images), atol=1e-5, rtol=0)
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in folded.modules())
    assert any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in network.modules())
