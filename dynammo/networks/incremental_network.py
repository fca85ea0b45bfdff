"""The network that learns task after task."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from dynammo.errors import UserError
from dynammo.heads.linear import BackgroundScore, grow_head
from dynammo.merging import State
from dynammo.networks.adapters import ADAPTERS, FOLDABLE, adapt, copy_state, fold, make_adapters, weight_changes
from dynammo.networks.backbones import Backbone, load_pretrained
from dynammo.networks.encoder_sources import open_encoder, rebuilt_encoder, trust_programs
from dynammo.networks.encoders import Encoder, short_name
from dynammo.networks.merged_classifier import MergedClassifier, build_classifier
from dynammo.networks.out_of_distribution import OutOfDistribution, maps_behind
from dynammo.networks.pooling import Pooling

__all__ = ["HEAD_LAYOUTS", "IncrementalNetwork"]

Module = TypeVar("Module", bound=nn.Module)
HEAD_LAYOUTS = ("others", "softmax", "analytic")


class IncrementalNetwork(nn.Module):
    """Frozen backbone, the adapters being fitted, the branches that predict, and the heads.

    `forward` is what stage 1 trains: the newest adapters and the newest head. Prediction is the work of the
    `MergedClassifier` that `classifier` makes.

    Args:
        architecture: see `Backbone`, or an encoder of others, see `dynammo.networks.encoder_sources.open_encoder`.
        stages: see `Backbone`; the last map that is kept of an encoder.
        weights: path, `imagenet` or `first_task`, see `dynammo.networks.backbones.load_pretrained`; of an encoder
            `own`, as it comes.
        adapter: kind of adapter, a name of `dynammo.networks.adapters.ADAPTERS` or, foldable,
            `dynammo.networks.adapters.FOLDABLE`.
        head_layout: `others` (one head for each task, with an "others" output), `softmax` (one head over all
            classes, which grows) or `analytic` (one head over all classes that a handler computes; stage 1 fits a
            temporary one).
        spatial_dims: 2 for images, 3 for volumes.
        in_channels: channels of the input.
        image_size: height and width of the input in pixels, checked against what the adapters need.
        pooling: arguments of `Pooling` beside the channels.
        encoder: what a record says of an encoder of others, which is built anew for weights to be loaded.
        trust_model: the user knows who wrote the encoder, which is a program.
    """

    def __init__(
        self,
        architecture: str = "resnet18",
        stages: int = 4,
        weights: str = "imagenet",
        adapter: str = "conv",
        head_layout: str = "others",
        spatial_dims: int = 2,
        in_channels: int = 3,
        image_size: int = 224,
        pooling: Mapping[str, Any] | None = None,
        encoder: Mapping[str, Any] | None = None,
        trust_model: bool = False,
    ) -> None:
        super().__init__()
        if adapter not in (*ADAPTERS, *FOLDABLE):
            raise UserError(f"adapter is {adapter!r}; expected one of {', '.join((*ADAPTERS, *FOLDABLE))}.")
        if head_layout not in HEAD_LAYOUTS:
            raise UserError(f"head_layout is {head_layout!r}; expected one of {', '.join(HEAD_LAYOUTS)}.")
        self.head_layout = head_layout
        self.spec: dict[str, Any] = {
            "architecture": short_name(architecture),
            "stages": stages,
            "adapter": adapter,
            "spatial_dims": spatial_dims,
            "in_channels": in_channels,
            "others": head_layout == "others",
            "pooling": dict(pooling or {}),
        }
        if trust_model:
            trust_programs()
        foreign = None
        if encoder or ":" in architecture:
            foreign = (
                rebuilt_encoder(encoder)
                if encoder
                else open_encoder(architecture, weights, image_size, spatial_dims, in_channels)
            ).keep(stages)
            if adapter == "conv" and not foreign.sites():
                raise UserError(
                    f"adapter is conv, which sits between stages of feature maps; {foreign.about['name']} has none: "
                    "give adapter low_rank, which is always merged, or none."
                )
            sides = foreign.about.get("sides", [])[:stages]
            _check_sites(min(sides, default=image_size), image_size, adapter, f"an adapter of {foreign.about['name']}")
            self.spec["encoder"] = foreign.about
        self.backbone = Backbone(architecture, stages, spatial_dims, in_channels, foreign)
        if foreign is None:
            before = f"the adapter before layer{stages}"
            _check_sites(_last_side(image_size, stages), image_size, adapter, before)
            if weights != "first_task":
                load_pretrained(self.backbone, weights, spatial_dims, in_channels)
        self.adapters = self._new_adapters()
        self.branches = nn.ModuleList()
        self.changes: State = {}  # of foldable adapters, what is added to the layers of the one branch
        _check_pooling(self.spec["pooling"], stages)
        points = self.spec.get("encoder", {}).get("points", ())
        self.pooling = Pooling(self.backbone.channels, points=points, **self.spec["pooling"])
        self.pooling.draw_projection()
        self.heads = nn.ModuleList()
        self.background: BackgroundScore | None = None
        self.out_of_distribution: OutOfDistribution | None = None
        self.temperature = 1.0

    @property
    def others(self) -> bool:
        """Stage 1 fits a head of the new classes and "others"."""
        return self.head_layout != "softmax"

    def start_task(self, new_classes: int, seen_classes: int) -> None:
        """A new head; the adapters start as copies of those of the task before.

        Args:
            new_classes: classes of the task.
            seen_classes: classes of all tasks so far, this one among them.
        """
        self.temperature = 1.0
        if self.head_layout == "analytic":
            self.heads, self.background = nn.ModuleList(), None
        if self.others:
            self.heads.append(grow_head(None, self.pooling.features, new_classes + 1))
        else:
            old = self.heads[0] if len(self.heads) else None
            self.heads = nn.ModuleList([grow_head(old, self.pooling.features, seen_classes)])  # type: ignore[arg-type]
        self.to(next(self.backbone.parameters()).device)

    def trainable_parameters(self) -> list[nn.Parameter]:
        """What stage 1 fits: the newest adapters and the newest head; nothing where both are not needed."""
        adapters = list(self.adapters.parameters())
        if self.head_layout == "analytic" and not adapters:
            return []
        return [*adapters, *(self.heads[-1].parameters() if len(self.heads) else ())]

    def set_analytic_head(self, head: nn.Linear, background: BackgroundScore | None = None) -> None:
        """The head over all classes that predicts from now on, and its unknown score."""
        self.heads, self.background = nn.ModuleList([head]), background
        self.to(next(self.backbone.parameters()).device)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, k + 1), or (B, K) with one head, of images (B, C, H, W) through the newest adapters."""
        if self.backbone.encoder is not None:
            maps = self._maps_of_encoder(self.backbone.encoder, images)
        else:
            maps = [self.backbone.stem(images)]  # (B, 64, H/4, W/4)
            for adapter, layer in zip(self.adapters, self.backbone.layers, strict=True):
                maps.append(adapt(adapter, layer, maps[-1]))
        logits: torch.Tensor = self.heads[-1](self.pooling(maps))
        return logits

    def _maps_of_encoder(self, encoder: Encoder, images: torch.Tensor) -> list[torch.Tensor]:
        if self.foldable:
            return adapt(self.adapters[0], encoder, images)  # type: ignore[return-value]
        plain = self.spec["adapter"] == "none"
        return encoder(images) if plain else encoder.adapted(images, self.adapters)

    @property
    def foldable(self) -> bool:
        """Adapters are changes of the backbone's weights."""
        return self.spec["adapter"] in FOLDABLE

    def adapter_state(self) -> State:
        """The newest adapters as merge strategies take them: parameters and buffers, or changes of weights."""
        return (
            weight_changes(self.adapters, self.backbone.foldable_layers())
            if self.foldable
            else copy_state(self.adapters)
        )

    def branch_state(self) -> State:
        """The adapters that predict."""
        return self.changes if self.foldable else self.branches.state_dict()

    def set_branches(self, states: Sequence[State]) -> None:
        """Adapters that predict from now on: one state when merged, else one for each task."""
        if self.foldable:
            (self.changes,) = states
            return
        self.branches = nn.ModuleList(self._new_adapters() for _ in states)
        for branch, state in zip(self.branches, states, strict=True):
            branch.load_state_dict(state)
        self.branches.requires_grad_(False).to(next(self.backbone.parameters()).device)

    def learnt_state(self) -> dict[str, Any]:
        """Tensors and numbers that tasks have changed, without the backbone, which is frozen."""
        return {
            "adapters": self.adapters.state_dict(),
            "branches": self.branch_state(),
            "branch_count": len(self.branches),
            "heads": self.heads.state_dict(),
            "background": self.background.state_dict() if self.background is not None else {},
            "out_of_distribution": self.out_of_distribution.state_dict()
            if self.out_of_distribution is not None
            else {},
            "temperature": self.temperature,
        }

    def load_learnt_state(self, state: Mapping[str, Any]) -> None:
        """Load a `learnt_state`, and the weights of the backbone where they lie beside it as `backbone`."""
        device = next(self.backbone.parameters()).device
        if "backbone" in state:
            self.backbone.load_state_dict(state["backbone"])
        self.adapters.load_state_dict(state["adapters"])
        branches = {name: value.to(device) for name, value in state["branches"].items()}
        self.set_branches([branches] if self.foldable else _parts(branches, state["branch_count"]))
        heads = _parts(state["heads"], len({name.split(".")[0] for name in state["heads"]}))
        self.heads = nn.ModuleList(_loaded(nn.Linear(*head["weight"].shape[::-1]), head) for head in heads)
        score, known = state["background"], state["out_of_distribution"]
        self.background = _loaded(BackgroundScore(len(score["shift"])), score) if score else None
        self.out_of_distribution = None
        if known:
            classes, width = known["means"].shape
            maps = maps_behind(width, self.backbone.channels)
            self.out_of_distribution = _loaded(OutOfDistribution(classes, width, maps), known)
        self.temperature = state["temperature"]
        self.to(device)

    def classifier(self) -> MergedClassifier:
        """The network that ships, with copies of the weights, in eval mode, on the same device."""
        parts: dict[str, nn.Module] = {
            "backbone": self.backbone, "branches": self.branches, "pooling": self.pooling, "heads": self.heads
        }  # fmt: skip
        if self.background is not None:
            parts["background"] = self.background
        if self.out_of_distribution is not None:
            parts["out_of_distribution"] = self.out_of_distribution
        folded = {f"backbone.{self.backbone.full_name(name)}": change for name, change in self.changes.items()}
        state = {
            f"{name}.{key}": value.detach().clone()
            for name, part in parts.items()
            for key, value in part.state_dict().items()
        }
        state["temperature"] = torch.tensor(self.temperature, device=next(self.backbone.parameters()).device)
        return build_classifier(self.classifier_spec(), fold(state, folded))

    def classifier_spec(self) -> dict[str, Any]:
        """Arguments that build the shipped network anew: numbers and names only."""
        counts = [head.out_features - int(self.spec["others"]) for head in self.heads]  # type: ignore[operator]
        known: dict[str, Any] = {"background": True} if self.background is not None else {}
        if self.out_of_distribution is not None:
            known["out_of_distribution"] = len(self.out_of_distribution.means)
            known |= {"out_of_distribution_maps": 2} if self.out_of_distribution.maps == 2 else {}
        spec = {"heads": counts, "branches": len(self.branches), **self.spec, **known}
        return spec | {"adapter": "none", "branches": 1} if self.foldable else spec

    def _new_adapters(self) -> nn.ModuleList:
        if self.foldable:
            return nn.ModuleList(FOLDABLE[self.spec["adapter"]](layer) for layer in self.backbone.foldable_layers())
        return make_adapters(self.spec["adapter"], self.backbone.sites, self.spec["spatial_dims"])


def _parts(state: State, count: int) -> list[State]:
    """The states of the `count` modules of a list, from the state of the list."""
    parts: list[State] = [{} for _ in range(count)]
    for name, value in state.items():
        number, _, rest = name.partition(".")
        parts[int(number)][rest] = value
    return parts


def _loaded(module: Module, state: State) -> Module:
    module.load_state_dict(state)
    return module


def _last_side(image_size: int, stages: int) -> int:
    """Pixels of a side of a ResNet's map in front of its last layer."""
    side = (image_size + 3) // 4  # after the stem, and at layer1 and layer2
    for _ in range(max(0, stages - 2)):
        side = (side + 1) // 2
    return side


def _check_sites(side: int, image_size: int, adapter: str, where: str) -> None:
    """Check that images of this size leave every adapter enough pixels.

    Args:
        side: the fewest pixels of a side that an adapter gets.
        image_size: of which so many are left.
        adapter: its name.
        where: it sits, for the message.

    Raises:
        UserError: the image is too small.
    """
    smallest = getattr(ADAPTERS.get(adapter), "smallest_input", 1)
    if side < smallest:
        raise UserError(
            f"image_size {image_size} leaves {side} pixels at {where}, which needs {smallest}; raise --image_size or "
            "lower --stages."
        )


def _check_pooling(pooling: Mapping[str, Any], stages: int) -> None:
    taps = pooling.get("taps")
    if taps is not None and (not taps or any(tap not in range(stages + 1) for tap in taps)):
        raise UserError(
            f'taps is {taps!r}; expected layers from 0 (the stem) to {stages}, such as --taps "[0,1,2]", or null.'
        )
