"""Volumes from end to end: `spatial_dims: 3` in backbone, adapters, merging, heads, trainer and what ships."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset
from monai.engines import SupervisedTrainer
from monai.networks.nets import resnet18
from synthetic.datasets import shared

from dynammo.data.exemplars import ExemplarMemory, Item
from dynammo.data.tasks import Task, TaskSequence
from dynammo.errors import UserError
from dynammo.handlers.backbone import TrainBackbone
from dynammo.handlers.evaluation import EvaluateTasks, MeasureCost
from dynammo.handlers.exemplars import SelectExemplars
from dynammo.handlers.head_tuning import TuneHeads
from dynammo.handlers.merge_adapters import MergeAdapters
from dynammo.merging import STRATEGIES
from dynammo.networks.adapters import ADAPTERS
from dynammo.networks.backbones import Backbone, load_pretrained
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.networks.merged_classifier import build_classifier
from dynammo.training.metrics import gmac
from dynammo.training.trainer import IncrementalTrainer

RESNET = {
    "n_input_channels": 3, "num_classes": 1000, "conv1_t_size": 7, "conv1_t_stride": 2, "shortcut_type": "B",
    "bias_downsample": False,
}  # fmt: skip
SIDE = 16
TASKS = TaskSequence(["along_depth", "along_height", "along_width", "even"], 2)


class Volumes:
    """Volumes (1, 16, 16, 16) of stripes along one axis: the place of the bright slabs differs in every volume."""

    def __init__(self, tasks: TaskSequence) -> None:
        self.tasks = tasks

    def train(self, task: Task) -> list[Item]:
        return self._items(task.labels, range(6))

    def test(self) -> list[Item]:
        return self._items(range(len(self.tasks.classes)), range(8, 10))

    def _items(self, labels: Sequence[int], numbers: Sequence[int]) -> list[Item]:
        return [
            {"image": _striped(self.tasks.classes[label], number), "label": label, "path": f"{label}/{number}"}
            for label in labels
            for number in numbers
        ]


def _striped(name: str, number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    volume = 0.2 * torch.randn(1, SIDE, SIDE, SIDE, generator=generator)
    axis = {"along_depth": 1, "along_height": 2, "along_width": 3}.get(name)
    if axis is not None:
        shape = [SIDE if dim == axis else 1 for dim in range(4)]
        volume += torch.sin(torch.arange(SIDE) * 1.6 + number).sign().view(shape)
    return volume


def _learn(strategy: str, in_channels: int = 1, batchnorm: str = "average") -> IncrementalTrainer:
    """The real loop over tasks with the real handlers, on volumes."""
    torch.manual_seed(0)
    network = IncrementalNetwork(
        stages=2, weights="first_task", spatial_dims=3, in_channels=in_channels, image_size=SIDE
    )
    data, keep = Volumes(TASKS), _repeated(in_channels)
    dataset = CacheDataset(data.train(TASKS[0]), keep, progress=False)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=2,
        train_data_loader=DataLoader(dataset, batch_size=8, shuffle=True),
        network=network,
        optimizer=torch.optim.SGD(network.trainable_parameters(), lr=0.01),
        loss_function=torch.nn.CrossEntropyLoss(),
        decollate=False,
    )
    engine = IncrementalTrainer(
        data,  # type: ignore[arg-type]
        network,
        trainer,
        ExemplarMemory(8),
        partial(torch.optim.SGD, lr=0.02, momentum=0.9),
        handlers=[
            TrainBackbone("first_task"),
            MergeAdapters(strategy, batchnorm),
            SelectExemplars(keep, 8),
            TuneHeads(keep, keep, epochs=20, learning_rate=1e-2, batch_size=8),
            EvaluateTasks(Dataset(data.test(), keep), 8),
            MeasureCost(SIDE),
        ],
    )
    engine.learn()
    return engine


def _repeated(channels: int) -> Callable[[Any], Any]:
    return lambda item: {**item, "image": item["image"].repeat(channels, 1, 1, 1)}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_learns_volumes(strategy: str) -> None:
    engine = _learn(strategy, batchnorm="recalibrate" if strategy == "average" else "average")
    assert len(engine.results) == 2
    assert engine.results[-1].accuracy > 0.6  # chance is 0.25
    classifier = engine.network.classifier()
    assert len(classifier.branches) == (2 if strategy == "none" else 1)
    outputs = classifier(torch.stack([item["image"] for item in engine.data.test()]))
    torch.testing.assert_close(outputs[:, :4].sum(1), torch.ones(8))
    shape = (1, SIDE, SIDE, SIDE)
    assert engine.cost["gmac_per_image"] == pytest.approx(gmac(classifier, shape))
    assert engine.cost["gmac_backbone"] < engine.cost["gmac_per_image"]


def test_what_ships_is_rebuilt_and_compiled_for_three_channels() -> None:
    network = _learn("average", in_channels=3).network
    shipped, volumes = network.classifier(), torch.randn(2, 3, SIDE, SIDE + 4, SIDE)
    rebuilt = build_classifier(network.classifier_spec(), shipped.state_dict())
    assert network.classifier_spec()["spatial_dims"] == 3
    torch.testing.assert_close(rebuilt(volumes), shipped(volumes))
    torch.testing.assert_close(torch.jit.script(shipped)(volumes), shipped(volumes), atol=1e-5, rtol=0)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_adapters_keep_the_shape_of_volumes(adapter: str) -> None:
    module = ADAPTERS[adapter](4, 3).eval()
    features = torch.randn(2, 4, 5, 6, 7)
    assert module(features).shape == features.shape
    torch.testing.assert_close(module(features), features, atol=0.1, rtol=0.1)


def test_cost_of_a_volume_counts_its_depth() -> None:
    images, volumes = Backbone(stages=1), Backbone(stages=1, spatial_dims=3)
    # 3-D: the stem has 7 times the weights and half the depth of places; layer1 3 times, a quarter
    stem, layer1 = 3 * 64 * 49 * 16**2, 4 * 64 * 64 * 9 * 8**2
    assert gmac(images, (3, 32, 32)) == pytest.approx((stem + layer1) / 1e9)
    assert gmac(volumes, (3, 32, 32, 32)) == pytest.approx((stem * 7 * 16 + layer1 * 3 * 8) / 1e9)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """State dict of a 2-D ResNet-18 with BatchNorm statistics of its own."""
    torch.manual_seed(0)
    net = resnet18(spatial_dims=2, **RESNET)
    net(torch.randn(8, 3, 32, 32))
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(net.state_dict(), path)
    return path


def test_inflated_weights_see_in_equal_slices_what_the_image_network_sees(weights: Path) -> None:
    images, volumes = Backbone(stages=1), Backbone(stages=1, spatial_dims=3)
    load_pretrained(images, weights)
    load_pretrained(volumes, weights, spatial_dims=3)
    image = torch.randn(1, 3, 24, 24)
    volume = image.unsqueeze(2).repeat(1, 1, 64, 1, 1)
    with torch.no_grad():
        flat = images.layers[0](images.stem(image))
        deep = volumes.layers[0](volumes.stem(volume))
    # the middle is out of reach of the zeros that pad both ends
    torch.testing.assert_close(deep[:, :, deep.shape[2] // 2], flat, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_one_grey_channel_gives_what_three_equal_ones_give(weights: Path, spatial_dims: int) -> None:
    grey = torch.randn(1, 1, *[24] * spatial_dims)
    features = []
    for channels in (1, 3):
        backbone = Backbone(stages=1, spatial_dims=spatial_dims, in_channels=channels)
        load_pretrained(backbone, weights, spatial_dims, channels)
        features.append(backbone(grey.repeat(1, channels, *[1] * spatial_dims)))
    torch.testing.assert_close(features[0], features[1], atol=1e-4, rtol=1e-4)


def test_a_volume_network_of_its_own_loads_as_it_is(tmp_path: Path) -> None:
    net = resnet18(spatial_dims=3, **{**RESNET, "n_input_channels": 1})
    torch.save(net.state_dict(), tmp_path / "volumes.pth")
    backbone = Backbone(stages=2, spatial_dims=3, in_channels=1)
    load_pretrained(backbone, tmp_path / "volumes.pth", 3, 1)
    assert torch.equal(backbone.stem[0].weight, net.conv1.weight)
    assert torch.equal(backbone.layers[1][0].conv1.weight, net.layer2[0].conv1.weight)
    with pytest.raises(UserError, match=r"not those of resnet18.*of another shape"):
        load_pretrained(Backbone(stages=2), tmp_path / "volumes.pth")


def test_real_imagenet_weights_serve_volumes() -> None:
    network = IncrementalNetwork(
        stages=3,
        weights=str(shared("weights", "resnet18_imagenet1k_to_layer3.pth")),
        spatial_dims=3,
        in_channels=1,
        image_size=24,
    )
    features = network.backbone(torch.randn(2, 1, 24, 24, 24))
    assert features.shape == (2, 256)
    assert features.isfinite().all()
    assert features.std() > 0.01


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"image_size": 16, "stages": 3}, "image_size 16 leaves 2 pixels at the adapter before layer3"),
        ({"spatial_dims": 4}, "spatial_dims is 4; expected 2 for images or 3 for volumes"),
        ({"in_channels": 0}, "in_channels is 0; expected a whole number from 1"),
    ],
)
def test_mistakes_are_explained(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        IncrementalNetwork(weights="first_task", **{"spatial_dims": 3, "stages": 2, **settings})
