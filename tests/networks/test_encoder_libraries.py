from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic.encoders import KINDS, SIZE, hugging_face, keeps_the_contract

from dynammo.errors import UserError
from dynammo.networks import encoders
from dynammo.networks.encoder_libraries import BUILDERS, MapsOf
from dynammo.networks.encoder_sources import open_encoder


@pytest.mark.parametrize("adapter", ["none", "low_rank"])
@pytest.mark.parametrize("kind", KINDS)
def test_vision_models_of_transformers(kind: str, adapter: str, tmp_path: Path) -> None:
    name = hugging_face(kind, tmp_path / kind)
    encoder = open_encoder(name, "own", SIZE)
    assert encoder.about["points"] == KINDS[kind][2]
    assert encoder.about["mean"] == [0.5, 0.5, 0.5] and "auto_map" not in encoder.about["build"]["config"]
    keeps_the_contract(name, adapter, len(encoder.channels) - 1)


@pytest.mark.parametrize("kind", ["convnext", "resnet"])
def test_the_papers_adapter_between_stages(kind: str, tmp_path: Path) -> None:
    name = hugging_face(kind, tmp_path / kind)
    assert len(open_encoder(name, "own", SIZE).sites()) == 4
    keeps_the_contract(name, "conv", 3)


@pytest.mark.parametrize("adapter", ["none", "low_rank", "conv"])
@pytest.mark.parametrize("dims", [2, 3])
def test_networks_of_monai(adapter: str, dims: int) -> None:
    keeps_the_contract("monai:DenseNet121", adapter, 2 if adapter == "conv" else 3, "first_task", dims)


def test_weights_of_monai_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.networks.nets import DenseNet121

    network = DenseNet121(spatial_dims=2, in_channels=3, out_channels=5)
    torch.save(network.state_dict(), tmp_path / "weights.pt")
    encoder = open_encoder("monai:DenseNet121", str(tmp_path / "weights.pt"), SIZE)
    torch.testing.assert_close(encoder.module.network.features.conv0.weight, network.features.conv0.weight)
    with monkeypatch.context() as patch, pytest.raises(UserError, match="GB of memory; take a smaller one"):
        patch.setattr(encoders, "usable_memory", lambda: 1e6)
        open_encoder("monai:DenseNet121", str(tmp_path / "weights.pt"), SIZE)
    torch.save({"other": torch.zeros(3)}, tmp_path / "weights.pt")
    with pytest.raises(UserError, match="has no weights for"):
        open_encoder("monai:DenseNet121", str(tmp_path / "weights.pt"), SIZE)
    with pytest.raises(UserError, match="comes without weights"):
        open_encoder("monai:DenseNet121", "own", SIZE)


def test_networks_of_timm() -> None:
    pytest.importorskip("timm", reason="timm needs torchvision, which is not installed here")
    keeps_the_contract("timm:resnet18", "none", 4, "first_task")
    keeps_the_contract("timm:convnext_atto", "low_rank", 3, "first_task")


def test_a_model_that_is_not_here_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    transformers = pytest.importorskip("transformers")
    monkeypatch.setattr(transformers.utils.hub, "_is_offline_mode", True, raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="is not a model that can be read"):
        open_encoder(f"hf:{tmp_path / 'empty'}", "own", SIZE)


def test_another_size_than_it_was_trained_with(tmp_path: Path) -> None:
    name = hugging_face("vit", tmp_path / "vit")
    assert open_encoder(name, "own").about["seen"] == SIZE
    with pytest.raises(UserError, match="it was trained with 32 pixels: type --set image_size=32"):
        open_encoder(name, "own", 64)


@pytest.mark.parametrize("name", ["os.system", "__builtins__", "__loader__", "DenseNet121()", ""])
def test_a_record_names_networks_of_monai_alone(name: str) -> None:
    with pytest.raises(UserError, match="MONAI has no network"):
        BUILDERS["monai"]({"class": name, "dims": 2, "channels": 3})


def test_a_record_names_no_other_code_of_transformers() -> None:
    pytest.importorskip("transformers")
    config = {"model_type": "vit", "auto_map": {"AutoModel": "evil--Model"}, "_attn_implementation": "evil/kernels"}
    built = BUILDERS["hf"]({"config": {**config, **KINDS["vit"][1]}})
    assert type(built.model).__module__.startswith("transformers.models.vit")
    with pytest.raises((UserError, ValueError, KeyError)):
        BUILDERS["hf"]({"config": {"model_type": "evil"}})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"model_type": "detr", "backbone": "somebody/else", "use_pretrained_backbone": True}, "around another model"),
        ({"model_type": "timm_wrapper", "architecture": "resnet18"}, "around another model"),
        ({"model_type": "vit", "hidden_size": 2**20, "num_attention_heads": 1}, "GB of memory; take a smaller one"),
    ],
)
def test_a_record_fetches_nothing_and_fills_no_memory(config: dict[str, Any], words: str) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match=words):
        BUILDERS["hf"]({"config": config})


def test_one_vector_an_image_is_a_map_of_one_pixel() -> None:
    maps = MapsOf(torch.nn.Flatten())(torch.rand(2, 3, 4, 4))
    assert [found.shape for found in maps] == [(2, 48, 1, 1)]
