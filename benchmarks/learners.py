"""Classifiers over frozen features that learn task after task: ours, from statistics, and scikit-learn's, refitted."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from dynammo.handlers.analytic_head import make_head
from dynammo.heads.analytic import INVERSE_TEMPERATURES, SHRINKAGES, ClassStatistics, choose
from dynammo.heads.cross_validation import fit_with_folds
from dynammo.training.metrics import tensor_bytes

__all__ = ["PENALTY", "ClosedForm", "Learner", "Refitted", "discriminant", "logistic", "unbalanced"]

PENALTY = 0.01
"""C of the logistic regressions."""


class Learner(Protocol):
    """Learns new classes and classifies among all that it knows."""

    @property
    def state_bytes(self) -> int:
        """Bytes that the next task needs, features of images among them, and the head."""

    @property
    def kept(self) -> int:
        """Images whose features are kept."""

    def learn(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Learn the new classes of a task, features (n, C, F) and labels (n,)."""

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Labels (M,) of features (M, F)."""


class ClosedForm:
    """The head of `light` and `analytic`, task by task as `dynammo.handlers.AnalyticHeads` computes it."""

    kept = 0

    def __init__(self) -> None:
        self.statistics: ClassStatistics | None = None
        self.losses = torch.zeros(0, len(SHRINKAGES), len(INVERSE_TEMPERATURES), dtype=torch.float64)
        self.head: torch.nn.Linear | None = None

    @property
    def state_bytes(self) -> int:
        """Of statistics, losses and the head; `run.json` counts all that a training keeps, 0.2 MB more."""
        statistics = self.statistics or ClassStatistics.empty(0)
        tensors = [value for value in statistics.state_dict().values() if isinstance(value, torch.Tensor)]
        return tensor_bytes([*tensors, self.losses, *(self.head.parameters() if self.head else ())])

    def learn(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Add the new classes to the statistics, choose the shrinkage, compute the head of all classes."""
        known = self.statistics or ClassStatistics.empty(features.shape[2])
        fitted = fit_with_folds(known, features, labels, "lda")
        self.statistics, self.losses = fitted.statistics, torch.cat([self.losses, fitted.losses])
        self.head, _ = make_head(self.statistics, "lda", *choose(self.losses))

    @torch.no_grad()
    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Labels (M,) of features (M, F)."""
        if self.head is None:
            raise ValueError("nothing has been learnt yet")
        labels: torch.Tensor = self.head(features).argmax(1)
        return labels


class Refitted:
    """A classifier of scikit-learn, fitted anew after every task on the features of all images so far.

    Args:
        make: the classifier of so many classes, not fitted.
        copies: also of their copies, where the features have some.
    """

    def __init__(self, make: Callable[[int], Any], copies: bool = False) -> None:
        self.make = make
        self.copies = copies
        self.features = torch.empty(0)
        self.labels = torch.empty(0, dtype=torch.long)
        self.fitted: Any = None

    @property
    def state_bytes(self) -> int:
        """Of all features and labels."""
        return tensor_bytes([self.features, self.labels])

    @property
    def kept(self) -> int:
        """All images."""
        return len(self.labels)

    def learn(self, features: torch.Tensor, labels: torch.Tensor) -> None:
        """Keep the features, and fit to all of them."""
        new = features if self.copies else features[:, :1]
        self.features = torch.cat([self.features, new]) if len(self.labels) else new.clone()
        self.labels = torch.cat([self.labels, labels])
        rows = self.features.flatten(0, 1).double().numpy()
        self.fitted = self.make(int(self.labels.max()) + 1).fit(
            rows, self.labels.repeat_interleave(new.shape[1]).numpy()
        )

    def classify(self, features: torch.Tensor) -> torch.Tensor:
        """Labels (M,) of features (M, F)."""
        return torch.from_numpy(self.fitted.predict(features.double().numpy()))


def logistic(classes: int) -> Any:  # noqa: ANN401
    """Logistic regression on standardised features; every class weighs the same, as in our heads."""
    return _logistic("balanced")


def unbalanced(classes: int) -> Any:  # noqa: ANN401
    """The same in which every image weighs the same, as scikit-learn does unless it is told otherwise."""
    return _logistic(None)


def discriminant(classes: int) -> Any:  # noqa: ANN401
    """Linear discriminant analysis, its covariance shrunk as Ledoit and Wolf do; every class weighs the same."""
    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto", priors=[1 / classes] * classes)


def _logistic(weight: str | None) -> Any:  # noqa: ANN401
    return make_pipeline(StandardScaler(), LogisticRegression(C=PENALTY, max_iter=2000, class_weight=weight))
