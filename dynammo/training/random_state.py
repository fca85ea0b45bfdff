"""Random generators as plain values: what a training draws next, saved and restored."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from dynammo.errors import UserError

__all__ = ["random_states", "restore_random_states"]

PASSED_BY = (str, bytes, int, float, type, torch.Tensor, torch.nn.Module, np.ndarray)


def random_states(transform: object = None) -> dict[str, Any]:
    """States of Python's, NumPy's and PyTorch's generators and of those in the random parts of `transform`.

    Returns:
        Tensors and numbers alone, so that a file of them is loaded without unpickling.
    """
    _, words, gauss = random.getstate()
    return {
        "python": {"words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": _of_numpy(np.random.get_state(legacy=True)),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "transform": [_of_numpy(generator.get_state(legacy=True)) for generator in _generators(transform, set())],
    }


def restore_random_states(states: Mapping[str, Any], transform: object = None) -> None:
    """Load what `random_states` found for the same transform.

    Raises:
        UserError: the transform has more or fewer random parts.
    """
    generators = list(_generators(transform, set()))
    if len(generators) != len(states["transform"]):
        raise UserError(
            f"the augmentation has {len(generators)} random parts, that of the interrupted run had "
            f"{len(states['transform'])}; put the old one back, or type --fresh True to start anew."
        )
    random.setstate((3, tuple(states["python"]["words"].tolist()), states["python"]["gauss"]))
    np.random.set_state(_to_numpy(states["numpy"]))
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    for generator, state in zip(generators, states["transform"], strict=True):
        generator.set_state(_to_numpy(state))


def _of_numpy(state: Any) -> dict[str, Any]:  # noqa: ANN401
    _, words, position, has_gauss, gauss = state
    words = torch.from_numpy(words.astype(np.int64))
    return {"words": words, "position": int(position), "has_gauss": int(has_gauss), "gauss": float(gauss)}


def _to_numpy(state: Mapping[str, Any]) -> tuple[str, Any, int, int, float]:
    words = state["words"].numpy().astype(np.uint32)
    return "MT19937", words, state["position"], state["has_gauss"], state["gauss"]


def _generators(part: object, seen: set[int]) -> Iterator[np.random.RandomState]:
    """NumPy's generators in a tree of transforms, each once, in an order that the tree alone decides."""
    if id(part) in seen or isinstance(part, PASSED_BY):
        return
    seen.add(id(part))
    if isinstance(part, np.random.RandomState):
        yield part
        return
    inner = list(part.values()) if isinstance(part, Mapping) else part if isinstance(part, list | tuple) else []
    # MONAI's random transforms without a seed of their own share one generator, an attribute of the class
    own = [getattr(part, "R", None), *vars(part).values()] if hasattr(part, "__dict__") else []
    for item in [*inner, *own]:
        yield from _generators(item, seen)
