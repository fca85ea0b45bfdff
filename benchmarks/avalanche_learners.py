"""Learners of Avalanche over frozen features, where it is installed: `make peers`.

Lomonaco et al., Avalanche: an end-to-end library for continual learning, arXiv 2104.00405.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from dynammo.errors import UserError
from dynammo.export.monai_label_app.lib.torchvision_ops import import_torchvision
from dynammo.training.metrics import tensor_bytes

__all__ = ["SETTINGS", "InAvalanche", "at_hand", "icarl", "replay", "streaming_lda"]

SETTINGS: dict[str, Any] = {"images": 40, "epochs": 30, "optimizer": "Adam", "rate": 0.001, "batch": 32}
"""Of what is trained; as many images are kept as DynaMMo keeps on derm8."""
OUTPUTS = 64  # made ready; more than any set has classes, and none of a class not seen yet is chosen


def at_hand() -> bool:
    """Whether Avalanche is installed here."""
    return find_spec("avalanche") is not None


class InAvalanche:
    """A strategy of Avalanche; it takes features in place of images.

    Args:
        make: the strategy, for features of this width.
        kept: images whose features it keeps.
        seed: of its weights and the order of images.

    Raises:
        UserError: Avalanche is not installed.
    """

    def __init__(self, make: Any, kept: int, seed: int = 0) -> None:  # noqa: ANN401
        self.make = make
        self.kept = kept
        self.seed = seed
        self.strategy: Any = None
        self.sizes: list[int] = []
        if not at_hand():
            raise UserError("Avalanche is not installed here; type make peers, which has an environment of its own.")
        import_torchvision()

    @property
    def state_bytes(self) -> int:
        """Of the weights or statistics that it learns, and the features kept."""
        learnt = [
            *self.strategy.model.state_dict().values(),
            *(value for value in vars(self.strategy).values() if isinstance(value, torch.Tensor)),
        ]
        return tensor_bytes(learnt) + self.kept * 4 * self.width

    def learn(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Learn the new classes of a task, features (n, C, F) of which the first copy is read, and labels (n,)."""
        from avalanche.benchmarks.scenarios import DatasetExperience, EagerCLStream
        from avalanche.benchmarks.utils import _make_taskaware_tensor_classification_dataset as as_dataset

        rows = features[:, 0].float()
        if self.strategy is None:
            self.width = rows.shape[1]
            self.mean, self.deviation = rows.mean(0), rows.std(0).clamp_min(1e-6)  # of the first task, for good
            torch.manual_seed(self.seed)
            with _quiet():
                self.strategy = self.make(self.width)
        new = sorted(set(labels.tolist()))
        experience = DatasetExperience(
            dataset=as_dataset(self._scaled(rows), labels), current_experience=len(self.sizes)
        )
        EagerCLStream("train", [experience])  # a strategy asks for the stream
        self.sizes.append(len(new))
        known = range(sum(self.sizes))
        experience.classes_in_this_experience, experience.classes_seen_so_far = new, [*known]
        # what its iCaRL asks the whole sequence for: classes so far, and all that may come as one task more
        sizes = [*self.sizes, OUTPUTS - len(known)]
        experience.benchmark = SimpleNamespace(n_classes_per_exp=sizes, classes_order=[*range(OUTPUTS)])
        with _quiet():
            self.strategy.train(experience, num_workers=0)

    @torch.no_grad()
    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Labels (M,) of features (M, F)."""
        model, rows = self.strategy.model.eval(), self._scaled(features.float())
        scores = self.strategy.predict(rows) if hasattr(self.strategy, "predict") else model(rows)
        labels: torch.Tensor = scores[:, : sum(self.sizes)].argmax(1)
        return labels

    def _scaled(self, rows: torch.Tensor) -> torch.Tensor:
        return (rows - self.mean) / self.deviation


def streaming_lda(width: int) -> Any:  # noqa: ANN401
    """Hayes and Kanan, arXiv 1909.01520, as Avalanche sets it."""
    from avalanche.training import StreamingLDA

    return StreamingLDA(
        slda_model=nn.Identity(), criterion=nn.CrossEntropyLoss(), input_size=width, num_classes=OUTPUTS,
        train_mb_size=SETTINGS["batch"], evaluator=_none(),
    )  # fmt: skip


def replay(width: int) -> Any:  # noqa: ANN401
    """A linear classifier that sees the features of kept images again."""
    from avalanche.training import Replay

    model = nn.Linear(width, OUTPUTS)
    return Replay(
        model=model, optimizer=_adam(model), criterion=nn.CrossEntropyLoss(), mem_size=SETTINGS["images"],
        train_mb_size=SETTINGS["batch"], train_epochs=SETTINGS["epochs"], evaluator=_none(),
    )  # fmt: skip


def icarl(width: int) -> Any:  # noqa: ANN401
    """Rebuffi et al., arXiv 1611.07725: a layer over the features is learnt, nearest means of kept images classify."""
    from avalanche.training import ICaRL

    layer, classifier = nn.Sequential(nn.Linear(width, width), nn.ReLU()), nn.Linear(width, OUTPUTS)
    return ICaRL(
        feature_extractor=layer, classifier=classifier, optimizer=_adam(nn.Sequential(layer, classifier)),
        memory_size=SETTINGS["images"], buffer_transform=None, fixed_memory=True, train_mb_size=SETTINGS["batch"],
        train_epochs=SETTINGS["epochs"], eval_mb_size=SETTINGS["batch"], evaluator=_none(),
    )  # fmt: skip


def _adam(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=SETTINGS["rate"])


def _none() -> Any:  # noqa: ANN401
    """It measures and prints nothing by itself."""
    from avalanche.training.plugins import EvaluationPlugin

    return EvaluationPlugin()


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
