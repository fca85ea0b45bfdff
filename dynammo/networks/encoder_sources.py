"""Where encoders of others come from: Hugging Face, timm, MONAI, a TorchScript file, a function of the user's own.

What a record holds builds classes of these libraries alone, with plain values. A TorchScript file, a function and code
beside weights are programs: they run where the user has typed `--trust-model`, and never because a record names them.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from dynammo.errors import UserError
from dynammo.networks.encoder_libraries import BUILDERS, OPENERS, MapsOf, Opened, Request
from dynammo.networks.encoders import Encoder, check_memory, digest_of, examined
from dynammo.networks.vectors import vectors_encoder
from dynammo.runtime.plain import expanded

__all__ = ["SOURCES", "open_encoder", "rebuilt_encoder", "trust_programs"]

USUAL_SIZE = 224
_trusted = False


def trust_programs() -> None:
    """Let programs of others run in this process from here on: the user has typed `--trust-model`."""
    global _trusted  # one word of the user, for every part of the process
    _trusted = True


def open_encoder(
    name: str, weights: str, image_size: int | None = None, spatial_dims: int = 2, in_channels: int = 3
) -> Encoder:
    """Find an encoder and examine it.

    Args:
        name: `hf:PATH_OR_ID`, `timm:NAME`, `monai:CLASS`, `torchscript:FILE` or `python:package.module:function`.
        weights: `own`, as the source has them; a file, or `first_task` for none, for `timm` and `monai`.
        image_size: pixels (voxels) on every side of an image; None for what the encoder was trained with.
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of an image.

    Raises:
        UserError: no such source or encoder, a package or weights that are missing, or a broken contract.
    """
    kind, _, rest = name.partition(":")
    if kind == "vectors":  # embeddings, whose encoder has worked elsewhere
        return vectors_encoder(rest)
    if kind not in SOURCES or not rest:
        raise UserError(f"there is no encoder {name}; expected {', '.join(SOURCES.values())}.")
    if weights == "imagenet":
        raise UserError(f"the weights of {name} are its own; type --weights own, or a file of weights for it.")
    if weights != "own" and kind not in ("timm", "monai"):
        raise UserError(f"the weights of {name} come with it; type --weights own, not {weights}.")
    opened = _opener(kind)(Request(name, rest, weights, spatial_dims, in_channels, _trusted))
    facts = {"mean": list(opened.mean), "std": list(opened.std), "size": opened.size, "build": dict(opened.build)}
    shape = (in_channels, *[image_size or opened.size or USUAL_SIZE] * spatial_dims)
    return Encoder(opened.module, examined(opened.module, name, facts, shape)).eval()


def rebuilt_encoder(about: Mapping[str, Any]) -> Encoder:
    """The encoder that a record describes, for weights that are loaded into it.

    Raises:
        UserError: a program that was not trusted, another than the record's, or a package that is missing.
    """
    kind, _, rest = str(about["name"]).partition(":")
    if kind == "vectors":
        return vectors_encoder(rest)
    if about["build"].get("program"):
        _check_trusted(about["name"])
        module = _opener(kind)(Request(about["name"], rest, "own", trusted=True)).module
        if digest_of(module) != about["digest"]:
            raise UserError(f"{about['name']} is not what this model was trained with: its weights differ.")
    elif kind in BUILDERS:
        module = BUILDERS[kind](about["build"])
    else:
        raise UserError(f"the record names an encoder {about['name']}, which this version does not know.")
    return Encoder(module, about).eval()


def _opener(kind: str) -> Callable[[Request], Opened]:
    return {**OPENERS, **PROGRAMS}[kind]


def _torchscript(request: Request) -> Opened:
    file = expanded(request.rest)
    _check_trusted(request.name)
    try:
        check_memory(request.name, file.stat().st_size)
        module = torch.jit.load(str(file), map_location="cpu")  # type: ignore[no-untyped-call]
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{file} is no TorchScript file that can be read ({type(error).__name__}).") from error
    return Opened(MapsOf(module), {"program": True, "script": True})


def _python(request: Request) -> Opened:
    module_name, _, function = request.rest.partition(":")
    _check_trusted(request.name)
    try:
        found = getattr(importlib.import_module(module_name), function)()
    except Exception as error:  # the user's own code
        raise UserError(f"{request.name} cannot be called ({type(error).__name__}: {error}).") from error
    if not isinstance(found, nn.Module):
        raise UserError(f"{request.name} returns {type(found).__name__}; expected a torch.nn.Module.")
    said: dict[str, Any] = {name: getattr(found, name, None) for name in ("mean", "std", "size")}
    said = {name: value for name, value in said.items() if isinstance(value, list | tuple | int)}
    return Opened(MapsOf(found), {"program": True}, **said)


def _check_trusted(name: str) -> None:
    if not _trusted:
        raise UserError(
            f"{name} is a program, which can do all that you can; type --trust-model if you know who wrote it."
        )


SOURCES = {
    "hf": "hf:PATH_OR_ID",
    "timm": "timm:NAME",
    "monai": "monai:CLASS",
    "torchscript": "torchscript:FILE",
    "python": "python:package.module:function",
}
"""Kinds of source, and how each is typed."""
PROGRAMS: dict[str, Callable[[Request], Opened]] = {"torchscript": _torchscript, "python": _python}
