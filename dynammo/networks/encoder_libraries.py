"""Encoders of Hugging Face, timm and MONAI: built by their own libraries, their outputs turned into maps."""

import importlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from dynammo.errors import UserError
from dynammo.networks.encoders import MEAN, STD, check_memory
from dynammo.runtime.plain import expanded

__all__ = ["BUILDERS", "OPENERS", "MapsOf", "Opened", "Request"]


class Opened(NamedTuple):
    """An encoder as its source gives it: a module from normalised images to maps, and what the source knows."""

    module: nn.Module
    build: Mapping[str, Any]
    mean: Sequence[float] = MEAN
    std: Sequence[float] = STD
    size: int | None = None


class Request(NamedTuple):
    """What is asked of a source; `rest` stands behind the colon."""

    name: str
    rest: str
    weights: str
    dims: int = 2
    channels: int = 3
    trusted: bool = False


class MapsOf(nn.Module):
    """A module that returns a tensor, a list or a tuple, as one that returns a list of maps.

    Args:
        module: from images to maps (B, C, H, W), or vectors (B, C), which become maps of one pixel.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """All maps of images (B, C, H, W)."""
        found = self.module(images)
        maps = list(found) if isinstance(found, list | tuple) else [found]
        points = (1,) * (images.dim() - 2)
        return [m.view(*m.shape, *points) if isinstance(m, torch.Tensor) and m.dim() == 2 else m for m in maps]


class _Tokens(nn.Module):
    """A vision model of transformers: its hidden states as maps, at most four behind the first of a transformer."""

    def __init__(self, model: nn.Module, patch: int) -> None:
        super().__init__()
        self.model = model
        self.patch = patch

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        found = self.model(pixel_values=images, output_hidden_states=True, return_dict=True)
        hidden = getattr(found, "reshaped_hidden_states", None) or found.hidden_states
        if hidden[0].dim() == 4:
            return list(hidden)
        states = [*hidden[:-1], found.last_hidden_state]  # the last one is normalised there
        rows, columns = images.shape[2] // self.patch, images.shape[3] // self.patch
        extra = states[0].shape[1] - rows * columns  # class token and registers
        steps = 3 if extra else 4
        depths = sorted({round(step * (len(states) - 1) / steps) for step in range(steps + 1)})
        maps = [states[depth][:, extra:].transpose(1, 2).unflatten(2, (rows, columns)) for depth in depths]
        return [*maps, states[-1][:, 0, :, None, None]] if extra else maps


class _Stages(nn.Module):
    """A convolutional network as the last map of every size, from its own submodules."""

    def __init__(self, network: nn.Module, names: Sequence[str] = ()) -> None:
        super().__init__()
        self.network = network
        self.names = list(names)
        for part in network.modules():
            if hasattr(part, "inplace"):
                setattr(part, "inplace", False)  # noqa: B010  mypy; or what is kept would change behind us

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        kept: dict[str, torch.Tensor] = {}

        def keep(name: str) -> Callable[[nn.Module, Any, Any], None]:
            return lambda _module, _inputs, output: kept.__setitem__(name, output)

        parts = [(n, m) for n, m in self.network.named_modules() if n and (not self.names or n in self.names)]
        hooks = [part.register_forward_hook(keep(name)) for name, part in parts]
        try:
            self.network(images)
        finally:
            for hook in hooks:
                hook.remove()
        if not self.names:
            self.names = _last_of_each_size(kept, images)
        return [kept[name] for name in self.names]


def _last_of_each_size(kept: Mapping[str, Any], images: torch.Tensor) -> list[str]:
    """Names of the last map of every size that is smaller than the one before, as the network goes down."""
    names: dict[int, str] = {}
    smallest = images.shape[2:].numel()
    for name, found in kept.items():
        if isinstance(found, torch.Tensor) and found.dim() == images.dim():
            size = found.shape[2:].numel()
            if 1 < size <= smallest and size < images.shape[2:].numel():
                names[size], smallest = name, size
    if not names:
        raise UserError("the network has no feature maps that are smaller than its images.")
    return list(names.values())


def _hugging_face(request: Request) -> Opened:
    transformers = _transformers()
    from transformers.image_processing_base import ImageProcessingMixin

    place = str(expanded(request.rest)) if expanded(request.rest).exists() else request.rest
    try:
        config = transformers.AutoConfig.from_pretrained(place, trust_remote_code=request.trusted)
        remote = bool(getattr(config, "auto_map", None)) and request.trusted
        if remote:  # its own code says how large it is; its files do so before that
            check_memory(request.name, sum(file.stat().st_size for file in Path(place).glob("*.safetensors")))
        else:
            _check_config(request.name, config)
        model, missing = transformers.AutoModel.from_pretrained(
            place, use_safetensors=True, trust_remote_code=request.trusted, attn_implementation="eager",
            dtype=torch.float32, output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise UserError(_hub_words(request.name, place, str(error))) from error
    model = getattr(model, "vision_model", model)
    lacking = sorted(key for key in missing["missing_keys"] if "pooler" not in key)
    if lacking:
        raise UserError(f"{request.name} has no weights for {len(lacking)} of its tensors, such as {lacking[0]}.")
    try:
        seen, _ = ImageProcessingMixin.get_image_processor_dict(place)
    except OSError:  # a folder of weights alone
        seen = {}
    build = {"program": True} if remote else {"config": _plain(model.config.to_dict())}
    size = getattr(model.config, "image_size", None)
    return Opened(
        _Tokens(model, _patch(model.config)), build, seen.get("image_mean") or MEAN, seen.get("image_std") or STD,
        size if isinstance(size, int) else None,
    )  # fmt: skip


def _build_hugging_face(build: Mapping[str, Any]) -> nn.Module:
    transformers = _transformers()
    settings = {name: value for name, value in _plain(build["config"]).items() if name != "model_type"}
    config = transformers.AutoConfig.for_model(build["config"]["model_type"], **settings)
    _check_config(f"the encoder {config.model_type} of the record", config)
    model = transformers.AutoModel.from_config(config, trust_remote_code=False, attn_implementation="eager")
    return _Tokens(model, _patch(config))


def _transformers() -> Any:  # noqa: ANN401
    transformers = _package("transformers", "hf")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def _check_config(name: str, config: Any) -> None:  # noqa: ANN401
    """Refuse what is built around a model from elsewhere, which would be fetched, and what memory cannot hold."""
    around = ("backbone", "backbone_config", "use_timm_backbone")
    if config.model_type.startswith("timm") or any(getattr(config, setting, None) for setting in around):
        raise UserError(f"{name} is built around another model; expected a vision encoder of its own, such as a ViT.")
    with torch.device("meta"):
        built = _transformers().AutoModel.from_config(config, trust_remote_code=False, attn_implementation="eager")
    check_memory(name, 4 * sum(parameter.numel() for parameter in built.parameters()))


def _patch(config: Any) -> int:  # noqa: ANN401
    patch = getattr(config, "patch_size", 1)
    return int(patch if isinstance(patch, int) else patch[0])


NOT_BUILT = ("auto_map", "quantization_config", "attn_implementation", "experts_implementation", "name_or_path")


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a config says how a class of transformers is built; what fetches code or names places is left out."""
    kept = {n: v for n, v in config.items() if not n.startswith("_") and n not in NOT_BUILT}
    found: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return found


def _hub_words(name: str, place: str, error: str) -> str:
    said = re.sub(r"\s+", " ", error.strip())[:200]
    if Path(place).exists():
        return (
            f"{name} is not a model that can be read ({said}); expected a folder with config.json and "
            "model.safetensors. Weights as a pickle are not read, and code beside them runs with --trust-model alone."
        )
    return (
        f"{name} is neither a folder here nor to be had from the hub ({said}). Where it can be reached, type "
        f"hf download {place} --local-dir FOLDER (a gated model asks for hf auth login first), and give hf:FOLDER."
    )


def _timm(request: Request) -> Opened:
    build = {"model": request.rest, "in_chans": request.channels}
    module = _build_timm(build, pretrained=request.weights == "own")
    if request.weights not in ("own", "first_task"):
        _fill(module.module, request)
    config = getattr(module.module, "pretrained_cfg", None) or {}
    size = config.get("input_size", (None,))[-1]
    return Opened(module, build, config.get("mean", MEAN), config.get("std", STD), size)


def _build_timm(build: Mapping[str, Any], pretrained: bool = False) -> MapsOf:
    timm = _package("timm", "timm")
    if not re.fullmatch(r"[\w.]+", build["model"]):
        raise UserError(f"timm:{build['model']} is no name of a timm model, such as timm:resnet18.a1_in1k.")
    try:
        found = timm.create_model(build["model"], pretrained=pretrained, features_only=True, in_chans=build["in_chans"])
    except Exception as error:  # unknown names, networks without maps, no network: timm raises many kinds
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"timm:{build['model']} cannot be had ({said}); timm.list_models() tells the names, and --weights FILE "
            "takes weights that were fetched elsewhere."
        ) from error
    return MapsOf(found)


def _monai(request: Request) -> Opened:
    if request.weights == "own":
        raise UserError(
            f"{request.name} comes without weights; type --weights FILE; dynammo train also takes --weights first_task."
        )
    build = {"class": request.rest, "dims": request.dims, "channels": request.channels}
    module = _build_monai(build)
    if request.weights != "first_task":
        _fill(module.network, request)
    module.eval()
    with torch.no_grad():
        module(torch.zeros(2, request.channels, *[64] * request.dims))  # finds out which maps there are
    return Opened(module, {**build, "maps": module.names})


def _build_monai(build: Mapping[str, Any]) -> _Stages:
    from monai.networks import nets

    made = getattr(nets, build["class"], None)
    if not (isinstance(made, type) and issubclass(made, nn.Module)):
        raise UserError(f"MONAI has no network {build['class']}; its names are those of monai.networks.nets.")
    try:
        network = made(spatial_dims=build["dims"], in_channels=build["channels"], out_channels=2)
    except TypeError as error:
        raise UserError(
            f"monai:{build['class']} cannot be built from dimensions and channels alone ({error}); write a function "
            "that builds it, and type python:package.module:function."
        ) from error
    return _Stages(network, build.get("maps", ()))


def _fill(network: nn.Module, request: Request) -> None:
    """Load a file of weights; classifiers may differ, since they are not used."""
    file = expanded(request.weights)
    try:
        check_memory(f"the file {file}", file.stat().st_size)
        if file.suffix == ".safetensors":
            state = _package("safetensors.torch", "hf").load_file(file)
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        expected = network.state_dict()
        fitting = {
            name: value for name, value in state.items() if name in expected and value.shape == expected[name].shape
        }
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"there is no file of weights {file}.") from None
    except Exception as error:  # torch raises a dozen kinds for a damaged file
        raise UserError(f"{file} is not a readable state dict ({type(error).__name__}).") from error
    lacking = [name for name in expected if name not in fitting and not name.endswith("num_batches_tracked")]
    if len({name.rpartition(".")[0] for name in lacking}) > 1:  # more than the last layer
        raise UserError(
            f"{file} has no weights for {len(lacking)} of {len(expected)} tensors of {request.name}, such as "
            f"{lacking[0]}; give a file of the same network."
        )
    network.load_state_dict(fitting, strict=False)


def _package(name: str, extra: str) -> Any:  # noqa: ANN401
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f'this encoder needs a package that is not installed ({error.name}); type pip install "dynammo[{extra}]".'
        ) from error


OPENERS: dict[str, Callable[[Request], Opened]] = {"hf": _hugging_face, "timm": _timm, "monai": _monai}
"""What finds an encoder and its weights, by kind of source."""
BUILDERS: dict[str, Callable[[Mapping[str, Any]], nn.Module]] = {
    "hf": _build_hugging_face, "timm": _build_timm, "monai": _build_monai
}  # fmt: skip
"""What builds the same encoder again from plain values of a record."""
