"""A model of embeddings as a head of a few kilobytes: ONNX and JSON, which need neither dynammo nor torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dynammo import NOTICE, __version__
from dynammo.errors import UserError
from dynammo.inference.onnx import OUTPUT, check_onnx_packages, write_onnx
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runs.load import Model, load_model
from dynammo.runs.record import check_tasks
from dynammo.runtime.files import prepare_output_dir, write_atomically
from dynammo.runtime.plain import say

__all__ = ["export_head", "outputs_of"]

INPUT = "features"
MOST_DIFFERENCE = 1e-4  # of a probability or unknown score between the forms of a head
VECTORS = 64  # drawn to compare them
README = """# {name}
A head for vectors of {width} numbers{encoder}, from {classes} classes, made by dynammo {version}.

| file | what it is |
|---|---|
| `head.json` | classes, weights, temperature, limits; plain numbers |
{onnx}
With NumPy alone, for vectors x of shape (B, {width}):

```python
import json, numpy as np
head = json.load(open("head.json"))
logits = x @ np.array(head["weight"]).T + head["bias"]
scores = np.exp((logits - logits.max(1, keepdims=True)) / head["temperature"])
probabilities = scores / scores.sum(1, keepdims=True)  # in the order of head["classes"]
a = logits + head["background"]["shift"]
energy = 0.5 * ((a @ np.array(head["background"]["form"])) * a).sum(1)
unknown = 1 / (1 + np.exp(head["background"]["constant"] + logits.max(1) - energy))
```

A vector is flagged unknown where `unknown` is more than `limits.unknown`, and as of low confidence where its largest
probability is less than `limits.confidence`. Vectors have to be made by the encoder that made those of the training.
{average}
{notice}
"""
AVERAGES = {
    "vectors": "They are means of the vectors of a group, such as a patient or a slide.\n",
    "probabilities": "Probabilities and unknown score of a group, such as a slide, are the means of its vectors'.\n",
}
ONNX_ROW = (
    "| `head.onnx` | `features` (B, {width}), float32, to `pred` (B, {columns}): probabilities, the unknown score |\n"
)


class _Head(nn.Module):
    """Vectors (B, D) to (B, K + 1), as `MergedClassifier` makes it of images of one pixel."""

    def __init__(self, network: MergedClassifier) -> None:
        super().__init__()
        self.heads, self.background, self.temperature = network.heads, network.background, network.temperature

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        logits = self.heads[0](vectors)
        assert self.background is not None
        return torch.cat([torch.softmax(logits / self.temperature, dim=1), self.background(logits)], dim=1)


def export_head(run: Path, to: Path, onnx: bool = True) -> Path:
    """Write `head.json`, `head.onnx` and `README.md`, compared with the model on drawn vectors.

    Args:
        run: one that has learnt embeddings.
        to: folder, made if need be.
        onnx: write `head.onnx` too.

    Returns:
        The folder.

    Raises:
        UserError: no such model, a folder that cannot be written, missing packages, or forms that do not agree.
    """
    if onnx:
        check_onnx_packages()
    model = load_model(run, vectors=True)
    check_tasks(model.record, str(run))
    network = model.network
    if network.background is None or len(network.heads) != 1:
        raise UserError(f"{model.name} has another head than that of --method light, which alone is exported.")
    width = int(model.record["network"]["in_channels"])
    head = _described(model, network)
    vectors = torch.from_numpy(np.random.default_rng(0).standard_normal((VECTORS, width), dtype=np.float32))
    vectors = vectors * _spread(network)
    with torch.no_grad():
        expected = network(vectors[:, :, None, None]).numpy()
    folder = prepare_output_dir(to)
    _compare("head.json", outputs_of(head, vectors.numpy()), expected)
    file = folder / "head.onnx"
    if onnx:
        write_onnx(_Head(network).eval(), (), file, channels=width, name=INPUT)
        _compare(file.name, _by_onnx(file, vectors.numpy()), expected)
    text = json.dumps(head, ensure_ascii=False, allow_nan=False).encode()
    write_atomically(folder / "head.json", lambda stream: stream.write(text))
    page = _readme(folder.resolve().name, head, onnx).encode()
    write_atomically(folder / "README.md", lambda stream: stream.write(page))
    names = ["head.json", "head.onnx"][: 1 + onnx]
    sizes = ", ".join(f"{name} {(folder / name).stat().st_size / 1000:.0f} kB" for name in names)
    say(f"{folder}: {sizes}; no probability differs by more than {MOST_DIFFERENCE:g} from the run's.")
    return folder


def outputs_of(head: dict[str, Any], vectors: NDArray[Any]) -> NDArray[Any]:
    """What the README says: probabilities (B, K) and unknown score (B, 1) of vectors (B, D), by NumPy alone."""
    logits = vectors @ np.array(head["weight"]).T + head["bias"]
    best = logits.max(1, keepdims=True)
    scores = np.exp((logits - best) / head["temperature"])
    shifted = logits + head["background"]["shift"]
    energy = 0.5 * ((shifted @ np.array(head["background"]["form"])) * shifted).sum(1, keepdims=True)
    with np.errstate(over="ignore"):  # of vectors far away the score is 0 or 1
        unknown = 1 / (1 + np.exp(head["background"]["constant"] + best - energy))
    return np.concatenate([scores / scores.sum(1, keepdims=True), unknown], axis=1)


def _described(model: Model, network: MergedClassifier) -> dict[str, Any]:
    config, trust = model.record["config"], model.record.get("trust", {})
    background = network.background
    assert background is not None  # checked before
    linear: Any = network.heads[0]
    return {
        "dynammo": __version__,
        "classes": list(model.record["classes"]),
        "about_classes": model.record.get("about_classes"),
        "features": linear.in_features,
        "encoder": config.get("encoder"),
        "average": config.get("average", "none"),
        "weight": linear.weight.tolist(),
        "bias": linear.bias.tolist(),
        "temperature": float(network.temperature),
        "background": {name: value.tolist() for name, value in background.state_dict().items()},
        "limits": {"unknown": trust.get("unknown_threshold"), "confidence": trust.get("confidence_limit")},
        "model": {"name": model.name, "sha256": model.sha256},
        "notice": NOTICE,
    }


def _spread(network: MergedClassifier) -> float:
    """A size of vectors at which the classes are neither all alike nor one of them certain."""
    linear: Any = network.heads[0]
    return float(2 / (linear.weight - linear.weight.mean(0)).norm(dim=1).mean().clamp(min=1e-6))


def _by_onnx(file: Path, vectors: NDArray[Any]) -> NDArray[Any]:
    import onnxruntime

    session: Any = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found: NDArray[Any] = session.run([OUTPUT], {INPUT: vectors})[0]
    return found


def _compare(name: str, found: NDArray[Any], expected: NDArray[Any]) -> None:
    difference = float(np.abs(found - expected).max())
    if not difference <= MOST_DIFFERENCE:
        raise UserError(
            f"{name} differs from the run by {difference:.1e}; a bug: please report it, nothing is exported."
        )


def _readme(name: str, head: dict[str, Any], onnx: bool) -> str:
    width, classes = head["features"], len(head["classes"])
    return README.format(
        name=name, width=width, classes=classes, version=head["dynammo"], notice=head["notice"],
        encoder=f" that the encoder {head['encoder'][:12]} made" if head["encoder"] else "",
        onnx=ONNX_ROW.format(width=width, columns=classes + 1) if onnx else "",
        average=AVERAGES.get(head["average"], ""),
    )  # fmt: skip
