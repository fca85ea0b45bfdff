from pathlib import Path

import pytest
import torch
from synthetic.datasets import TINY, run_bundle

from dynammo.data.tasks import TaskSequence
from dynammo.merging import STRATEGIES
from dynammo.networks.adapters import FOLDABLE, ConvAdapter, adapt, fused
from dynammo.networks.backbones import Backbone
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runs.load import load_model
from dynammo.runtime.files import load_state
from dynammo.training.metrics import gmac

TASKS = TaskSequence(list("abcde"), [2, 1, 2])
KINDS = pytest.mark.parametrize("kind", sorted(FOLDABLE))


def learnt(kind: str) -> IncrementalNetwork:
    """A network after two tasks, with adapters that do something and BatchNorms that are not at birth."""
    torch.manual_seed(0)
    network = IncrementalNetwork(stages=3, weights="first_task", adapter=kind, image_size=32)
    for name, value in network.backbone.state_dict().items():
        if name.endswith(("running_var", "weight")) and value.dim() == 1:
            value.uniform_(0.5, 2)
    for task in TASKS[:2]:
        network.start_task(len(task.classes), task.seen)
    for parameter in network.adapters.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval()


@KINDS
def test_nothing_changes_at_birth(kind: str) -> None:
    backbone, images = Backbone(stages=2), torch.randn(2, 64, 8, 8)
    for layer in backbone.layers:
        torch.testing.assert_close(adapt(FOLDABLE[kind](layer), layer, images), layer(images))
        images = layer(images)


@KINDS
def test_the_folded_network_gives_what_the_adapters_gave(kind: str) -> None:
    network, images = learnt(kind), torch.randn(4, 3, 48, 48)
    network.set_branches([network.adapter_state()])
    shipped = network.classifier()
    with torch.no_grad():
        expected = network(images)
        plain = network.heads[-1](network.backbone(images))
    assert (expected - plain).abs().max() > 0.01  # the adapters do something
    torch.testing.assert_close(shipped.logits(shipped.features(images))[-1], expected, atol=1e-5, rtol=1e-5)


@KINDS
def test_what_ships_is_the_plain_backbone_with_other_weights(kind: str) -> None:
    network = learnt(kind)
    network.set_branches([network.adapter_state()])
    shipped = network.classifier()
    spec = {**network.classifier_spec(), "adapter": "none"}
    plain = MergedClassifier(**spec)
    assert {k: v.shape for k, v in shipped.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    heads = sum(head.weight.numel() for head in network.heads) / 1e9
    assert gmac(shipped, (3, 96, 96)) == pytest.approx(gmac(network.backbone, (3, 96, 96)) + heads, rel=1e-12)
    assert torch.jit.script(shipped)(torch.randn(1, 3, 32, 32)).shape == (1, 4)


@KINDS
def test_merging_is_arithmetic_on_weights(kind: str) -> None:
    """The mean of adapters ships the mean of the networks that each of them would ship."""
    network = learnt(kind)
    states, weights = [], []
    for _ in range(3):
        for parameter in network.adapters.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        states.append(network.adapter_state())
        network.set_branches(states[-1:])
        weights.append(network.classifier().backbone.state_dict())
    merge = STRATEGIES["average"].merge
    assert merge is not None
    network.set_branches([merge(states, [1.0, 1.0, 1.0], states[0])])
    for name, value in network.classifier().backbone.state_dict().items():
        if value.is_floating_point():
            mean = torch.stack([w[name] for w in weights]).mean(0)
            torch.testing.assert_close(value, mean, atol=1e-5, rtol=1e-5)


@KINDS
def test_adapters_are_trained_and_the_backbone_is_not(kind: str) -> None:
    network = learnt(kind).train()
    network(torch.randn(2, 3, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.adapters.parameters())
    assert all(p.grad is None for p in network.backbone.parameters())


@pytest.mark.usefixtures("in_root", "no_plots")
@KINDS
def test_the_bundle_learns_with_them(kind: str, tiny_data: Path, tmp_path: Path) -> None:
    run_bundle(
        "training", "bundle/configs/train.yaml", dataset_dir=str(tiny_data), output_dir=str(tmp_path), adapter=kind,
        exemplars=8, mlflow=False, **TINY,
    )  # fmt: skip
    record, shipped = load_model(tmp_path).record, load_state(tmp_path / "model.pt")
    assert record["network"]["adapter"] == "none" and not any(name.startswith("branches") for name in shipped)
    assert round(record["cost"]["gmac_per_image"] / record["cost"]["gmac_backbone"], 3) == 1.000
    learning = load_state(tmp_path / "checkpoint.pt")
    changed = [name for name, change in learning["branches"].items() if change.abs().max() > 0]
    assert changed
    for name in changed:
        torch.testing.assert_close(
            shipped[f"backbone.layers.{name}"],
            learning["backbone"][f"layers.{name}"] + learning["branches"][name],
        )


@pytest.mark.usefixtures("in_root", "no_plots")
def test_adapters_of_the_first_task_alone_leave_statistics_true(tiny_data: Path, tmp_path: Path) -> None:
    """First-task adaptation under an analytic head: the second task moves no weight below the head."""
    backbones = []
    for increments in ([2, 2], [2, 1, 1]):
        output = tmp_path / str(len(increments))
        run_bundle(
            "training", ["bundle/configs/train.yaml", "configs/methods/analytic.yaml"], dataset_dir=str(tiny_data),
            output_dir=str(output), adapter="low_rank", adapter_tasks=1, increments=increments, mlflow=False, **TINY,
        )  # fmt: skip
        learning = load_state(output / "checkpoint.pt")
        assert any(change.abs().max() > 0 for change in learning["branches"].values())
        backbones.append({k: v for k, v in load_state(output / "model.pt").items() if k.startswith("backbone")})
        statistics = learning["handlers"]["AnalyticHeads"]["statistics"]
        assert statistics["counts"].tolist() == [6.0] * 4
    assert all(torch.equal(value, backbones[1][name]) for name, value in backbones[0].items())


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_batchnorm_of_the_papers_adapter_folds(spatial_dims: int) -> None:
    torch.manual_seed(0)
    adapter = ConvAdapter(4, spatial_dims, alpha=0.7)
    for module in adapter.branch:
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for value in (module.weight, module.bias, module.running_mean, module.running_var):
                torch.nn.init.uniform_(value, 0.3, 2)
    features = torch.randn(2, 4, *[6] * spatial_dims)
    folded = fused(adapter)
    torch.testing.assert_close(folded(features), adapter.eval()(features), atol=1e-5, rtol=1e-5)
    assert not any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in folded.modules())
    assert any(isinstance(m, torch.nn.modules.batchnorm._BatchNorm) for m in adapter.modules())
