"""The network that ships."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from dynammo.heads.linear import BackgroundScore, join_heads
from dynammo.merging import State
from dynammo.networks.adapters import make_adapters
from dynammo.networks.backbones import Backbone
from dynammo.networks.encoder_sources import rebuilt_encoder
from dynammo.networks.encoders import AdaptedPass
from dynammo.networks.out_of_distribution import OutOfDistribution, width_of
from dynammo.networks.pooling import Pooling

__all__ = ["MergedClassifier", "build_classifier"]

FOREIGN = re.compile(r"\.encoder\.|^passes\.")


class MergedClassifier(nn.Module):
    """The network that ships: one backbone, merged adapters, heads; it knows nothing of tasks.

    Args:
        heads: number of classes of each head, in label order.
        others: every head has an "others" output behind its classes.
        branches: 1 for merged adapters; without merging one for each head, and as many passes.
        architecture: see `Backbone`.
        stages: see `Backbone`.
        adapter: kind of adapter, a name of `dynammo.networks.adapters.ADAPTERS`.
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the input.
        background: the unknown score is that of a `BackgroundScore` on the logits of the one head.
        pooling: arguments of `Pooling` beside the channels; none for the mean of the last layer.
        out_of_distribution: classes whose images `OutOfDistribution` compares an image with; 0 for none.
        out_of_distribution_maps: maps that it reads, see `dynammo.networks.out_of_distribution.map_features`.
        encoder: what a record says of an encoder of others; None for a ResNet.

    Attributes:
        temperature: divides the scores of all classes before their softmax, so that probabilities mean what they
            say (Guo et al., arXiv 1706.04599); 1 unless a handler has fitted it.
    """

    temperature: torch.Tensor

    def __init__(
        self,
        heads: Sequence[int],
        others: bool = True,
        branches: int = 1,
        architecture: str = "resnet18",
        stages: int = 4,
        adapter: str = "conv",
        spatial_dims: int = 2,
        in_channels: int = 3,
        background: bool = False,
        pooling: Mapping[str, Any] | None = None,
        out_of_distribution: int = 0,
        out_of_distribution_maps: int = 1,
        encoder: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.others = others
        foreign = rebuilt_encoder(encoder).keep(stages) if encoder else None
        self.backbone = Backbone(architecture, stages, spatial_dims, in_channels, foreign)
        self.branches = nn.ModuleList(
            make_adapters(adapter, self.backbone.sites, spatial_dims) for _ in range(branches)
        )
        self.pooling = Pooling(self.backbone.channels, points=(encoder or {}).get("points", ()), **(pooling or {}))
        self.heads = nn.ModuleList(nn.Linear(self.pooling.features, count + int(others)) for count in heads)
        self.background = BackgroundScore(sum(heads)) if background else None
        self.passes = nn.ModuleList()  # graphs of the adapted passes, in TorchScript alone
        self.adapted = adapter != "none"
        width, count = width_of(self.backbone.channels, out_of_distribution_maps), out_of_distribution_maps
        self.out_of_distribution = OutOfDistribution(out_of_distribution, width, count) if out_of_distribution else None
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map images (B, C, H, W) to (B, K + 1): K class probabilities that sum to 1, then the unknown score.

        One tensor, since MONAI's inferers, `verify_net_in_out` and MONAI Label expect one; both parts lie in
        [0, 1]. `classify` returns them apart.
        """
        return torch.cat(self.classify(images), dim=1)

    @torch.jit.export
    def classify(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class probabilities (B, K) and unknown score (B, 1) of images (B, C, H, W)."""
        return self.join(self.logits(self.features(images)))

    @torch.jit.export
    def features(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Pooled features (B, F) of images (B, C, H, W), one tensor for each branch."""
        return self.pool(self.maps(images))

    @torch.jit.export
    def maps(self, images: torch.Tensor) -> list[list[torch.Tensor]]:
        """Feature maps of the stem and of every layer, for each branch, of images (B, C, H, W)."""
        if self.backbone.encoder is not None:
            if not self.adapted:
                return [self.backbone.encoder(images)]
            passes: list[list[torch.Tensor]] = []
            for one in self.passes:
                passes.append(one(images))
            return passes if len(passes) > 0 else self.adapted_maps(images)
        stem = self.backbone.stem(images)  # (B, 64, H/4, W/4)
        branches: list[list[torch.Tensor]] = []
        for adapters in self.branches:
            maps = [stem]
            for adapter, layer in zip(adapters, self.backbone.layers):  # noqa: B905  TorchScript has no strict
                maps.append(layer(adapter(maps[-1])))
            branches.append(maps)
        return branches

    @torch.jit.unused
    def adapted_maps(self, images: torch.Tensor) -> list[list[torch.Tensor]]:
        """`maps` of an encoder of others with adapters between its stages."""
        assert self.backbone.encoder is not None
        return [self.backbone.encoder.adapted(images, adapters) for adapters in self.branches]  # type: ignore[arg-type]

    @torch.jit.unused
    def trace_passes(self, images: torch.Tensor) -> None:
        """Make graphs of the adapted passes of an encoder, for images of this size, since TorchScript has no hooks."""
        if self.backbone.encoder is not None and self.adapted:
            whole = (AdaptedPass(self.backbone.encoder, adapters) for adapters in self.branches)  # type: ignore[arg-type]
            trace = partial(torch.jit.trace, example_inputs=images, strict=False, check_trace=False)
            self.passes = nn.ModuleList(map(trace, whole))

    @torch.jit.export
    def pool(self, maps: list[list[torch.Tensor]]) -> list[torch.Tensor]:
        """Features (B, F) of each branch from its maps."""
        features: list[torch.Tensor] = []
        for branch in maps:
            features.append(self.pooling(branch))
        return features

    @torch.jit.export
    def logits(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Logits (B, k_i + 1) of each head, from the features of its branch."""
        logits: list[torch.Tensor] = []
        for i, head in enumerate(self.heads):
            logits.append(head(features[min(i, len(features) - 1)]))
        return logits

    @torch.jit.export
    def join(self, logits: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Class probabilities (B, K) and unknown score (B, 1) from the logits of each head."""
        probabilities, unknown = join_heads(logits, self.others, self.temperature)
        if self.background is not None:
            unknown = self.background(logits[0])
        return probabilities, unknown

    @torch.jit.export
    def ood_score(self, maps: list[list[torch.Tensor]]) -> torch.Tensor:
        """How far images are from all training images (B,), see `OutOfDistribution`; 0 where that is not known."""
        stem = maps[0][0]
        if self.out_of_distribution is not None:
            distances: torch.Tensor = self.out_of_distribution(maps[0])
            return distances
        return torch.zeros(stem.shape[0], device=stem.device)


def build_classifier(spec: Mapping[str, Any], state: State) -> MergedClassifier:
    """The network of `IncrementalNetwork.classifier_spec` with these weights, in eval mode, on their device."""
    # no time and no random numbers for weights that are replaced at once; encoders hold more than their state
    with torch.device("cpu" if spec.get("encoder") else "meta"):
        classifier = MergedClassifier(**spec)
    if spec.get("encoder"):  # TorchScript files hold tables too that an encoder makes itself
        known = classifier.state_dict().keys()
        state = {name: value for name, value in state.items() if name in known or not FOREIGN.search(name)}
    classifier.load_state_dict(state, assign=True)
    return classifier.requires_grad_(False).eval()
