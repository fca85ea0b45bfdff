from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from monai.networks.nets import resnet18, resnet50
from synthetic.datasets import shared

from dynammo.errors import UserError
from dynammo.networks.backbones import Backbone, load_pretrained
from dynammo.training.metrics import gmac

TORCHVISION = {
    "spatial_dims": 2, "n_input_channels": 3, "num_classes": 1000, "conv1_t_size": 7, "conv1_t_stride": 2,
    "shortcut_type": "B", "bias_downsample": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet18.pth"
    torch.save(resnet18(**TORCHVISION).state_dict(), path)
    return path


def test_features_are_those_of_the_whole_network(weights: Path) -> None:
    whole = resnet18(**TORCHVISION).eval()
    whole.load_state_dict(torch.load(weights, weights_only=True))
    backbone = Backbone("resnet18", 4)
    load_pretrained(backbone, weights)
    images = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(whole.fc(backbone(images)), whole(images))


@pytest.mark.parametrize(
    ("architecture", "stages", "sites", "features"),
    [
        ("resnet18", 4, [64, 64, 128, 256], 512),
        ("resnet18", 1, [64], 64),
        ("resnet34", 3, [64, 64, 128], 256),
        ("resnet50", 4, [64, 256, 512, 1024], 2048),
    ],
)
def test_stages_cut_the_network(architecture: str, stages: int, sites: list[int], features: int) -> None:
    backbone = Backbone(architecture, stages)
    assert (backbone.sites, backbone.features) == (sites, features)
    assert backbone(torch.randn(1, 3, 32, 32)).shape == (1, features)


def test_a_frozen_backbone_ignores_train_mode() -> None:
    backbone = Backbone("resnet18", 1)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    backbone.train()
    backbone(torch.randn(4, 3, 32, 32))
    assert all(torch.equal(before[k], v) for k, v in backbone.state_dict().items())
    assert not any(p.requires_grad for p in backbone.parameters())
    backbone.unfreeze()
    backbone.train()
    backbone(torch.randn(4, 3, 32, 32))
    assert not torch.equal(before["stem.1.running_mean"], backbone.state_dict()["stem.1.running_mean"])


def test_a_state_dict_cut_after_the_last_stage_is_enough(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights, weights_only=True)
    cut = {k: v for k, v in state.items() if not k.startswith(("layer3", "layer4", "fc"))}
    torch.save(cut, tmp_path / "cut.pth")
    load_pretrained(Backbone("resnet18", 2), tmp_path / "cut.pth")
    with pytest.raises(UserError, match=r"not those of resnet18 up to layer3: \d+ missing \(layer3"):
        load_pretrained(Backbone("resnet18", 3), tmp_path / "cut.pth")


def test_weights_of_another_architecture(weights: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not those of resnet34 up to layer4"):
        load_pretrained(Backbone("resnet34"), weights)
    torch.save(resnet50(**TORCHVISION).state_dict(), tmp_path / "resnet50.pth")
    with pytest.raises(UserError, match="not those of resnet18"):
        load_pretrained(Backbone("resnet18", 2), tmp_path / "resnet50.pth")


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    (tmp_path / "page.pth").write_text("<html>not found</html>")
    torch.save({"epoch": 3}, tmp_path / "checkpoint.pth")
    with pytest.raises(UserError, match="not a readable PyTorch state dict"):
        load_pretrained(Backbone(stages=1), tmp_path / "page.pth")
    with pytest.raises(UserError, match="expected a plain state dict"):
        load_pretrained(Backbone(stages=1), tmp_path / "checkpoint.pth")
    with pytest.raises(UserError, match="no weights file"):
        load_pretrained(Backbone(stages=1), tmp_path / "nowhere.pth")


def test_offline_without_a_cached_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(UserError, match=r"put it at .*pth, or type --weights FILE; dynammo train also takes --weights"):
        load_pretrained(Backbone(), "imagenet")


def test_a_cached_file_serves_offline(weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(weights.read_bytes())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    backbone = Backbone("resnet18", 1)
    load_pretrained(backbone, "imagenet")
    assert torch.equal(backbone.stem[0].weight, torch.load(weights, weights_only=True)["conv1.weight"])


@pytest.mark.parametrize(("name", "value"), [("architecture", "vgg16"), ("stages", 5), ("stages", 0)])
def test_unknown_shapes_are_explained(name: str, value: object) -> None:
    with pytest.raises(UserError, match=f"{name} is"):
        Backbone(**{name: value})  # type: ignore[arg-type]


def test_cost_of_resnet18_at_224_pixels() -> None:
    assert gmac(Backbone(), (3, 224, 224)) == pytest.approx(1.81, abs=0.01)


def test_real_imagenet_weights_fit_up_to_layer3() -> None:
    backbone = Backbone("resnet18", 3)
    load_pretrained(backbone, shared("weights", "resnet18_imagenet1k_to_layer3.pth"))
    with pytest.raises(UserError, match="--stages"):
        load_pretrained(Backbone("resnet18", 4), shared("weights", "resnet18_imagenet1k_to_layer3.pth"))


def test_a_file_that_memory_cannot_hold_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "large.pt").write_bytes(bytes(1000))
    monkeypatch.setattr("dynammo.networks.encoders.usable_memory", lambda: 999)
    with pytest.raises(UserError, match=r"large\.pt needs 0\.0 GB for its weights, but"):
        load_pretrained(Backbone("resnet18", 1), tmp_path / "large.pt")
