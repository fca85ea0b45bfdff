"""Heads: logits of each task with its "others" output, and how heads join into class probabilities."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import nn

from dynammo.errors import UserError

__all__ = ["BackgroundScore", "grow_head", "join_heads", "join_others", "tune_heads"]


def join_others(
    logits: list[torch.Tensor], temperature: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Join heads whose last output is "others" into class probabilities by the paper's rule.

    The paper: softmax per head, the head with the smallest "others" probability o_i wins, then the argmax
    of its classes. Here every class c of head i gets the score `(1 - o_i) / o_i * p(c) / max_c' p(c')`: the odds
    that the image belongs to task i, times how likely c is against the best class of i. The best class of
    each head so scores the odds of its head, hence the largest score is exactly the paper's choice, while the
    scores, divided by their sum, grade all K classes. Computed in logits.

    Args:
        logits: one tensor (B, k_i + 1) for each head.
        temperature: (), divides the scores; the order of the classes and the unknown score do not depend on it.
            None for 1.

    Returns:
        Class probabilities (B, K) that sum to 1, and the unknown score (B, 1) in [0, 1]: the smallest "others"
        probability, high where no head recognises the image.
    """
    counts = [head.shape[1] - 1 for head in logits]
    most = max(counts)
    # all heads at once, shorter ones filled up with classes of probability 0: small steps for each would add up
    rows = [nn.functional.pad(head[:, :-1], (0, most - count), value=-math.inf) for head, count in zip(logits, counts)]  # noqa: B905  TorchScript has no strict
    classes = torch.stack(rows, dim=1)  # (B, T, k)
    odds = torch.logsumexp(classes, dim=2) - torch.stack([head[:, -1] for head in logits], dim=1)
    scores = odds[:, :, None] + classes - classes.amax(dim=2, keepdim=True)
    joined = [scores[:, i, :count] for i, count in enumerate(counts)]
    return _softmax(joined, temperature), torch.sigmoid(-odds).amin(dim=1, keepdim=True)


def join_heads(
    logits: list[torch.Tensor], others: bool, temperature: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Class probabilities (B, K) and unknown score (B, 1) of heads with or without an "others" output.

    Without it there is one head over all classes: a plain softmax, whose unknown score is 1 minus the largest
    probability (Hendrycks and Gimpel, arXiv 1610.02136).
    """
    if others:
        return join_others(logits, temperature)
    probabilities = _softmax(logits, temperature)
    return probabilities, 1.0 - probabilities.amax(dim=1, keepdim=True)


def _softmax(scores: list[torch.Tensor], temperature: torch.Tensor | None) -> torch.Tensor:
    joined = torch.cat(scores, dim=1)
    return torch.softmax(joined if temperature is None else joined / temperature, dim=1)


class BackgroundScore(nn.Module):
    """Unknown score of an analytic head: how much better one background Gaussian explains the image than its class.

    The logistic function of `1/2 a' form a - constant - max logit` with `a = logits + shift`
    (`dynammo.heads.analytic.Background`).

    Args:
        classes: number of classes K.
    """

    shift: torch.Tensor
    form: torch.Tensor
    constant: torch.Tensor

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(classes))
        self.register_buffer("form", torch.zeros(classes, classes))
        self.register_buffer("constant", torch.zeros(()))

    def forward(self, logits: torch.Tensor) -> torch.Tensor:
        """Map logits (B, K) to unknown scores (B, 1) in [0, 1]."""
        shifted = logits + self.shift
        energy = 0.5 * ((shifted @ self.form) * shifted).sum(1, keepdim=True)
        unknown: torch.Tensor = torch.sigmoid(energy - self.constant - logits.amax(dim=1, keepdim=True))
        return unknown


def grow_head(head: nn.Linear | None, features: int, outputs: int) -> nn.Linear:
    """A linear head of `outputs` rows whose first rows are those of `head`."""
    grown = nn.Linear(features, outputs)
    if head is not None:
        with torch.no_grad():
            grown.weight[: head.out_features] = head.weight
            grown.bias[: head.out_features] = head.bias
    return grown


def tune_heads(
    heads: nn.ModuleList,
    features: list[torch.Tensor],
    targets: list[torch.Tensor],
    epochs: int,
    learning_rate: float = 1e-3,
    milestones: Sequence[int] = (),
    batch_size: int = 32,
    even: bool = False,
) -> float:
    """Stage 2: train all heads together on features that no longer change, sum of cross-entropies, Adam.

    Args:
        heads: linear heads, changed in place.
        features: (N, F) for each branch; head i reads branch i, or the only one.
        targets: for each head, (N,) indices of its outputs.
        epochs: passes over the N features; 0 leaves the heads as they are.
        learning_rate: start rate, times 0.1 at each of `milestones`.
        milestones: epochs at which the rate falls.
        batch_size: features for each step.
        even: draw N features with replacement in every epoch, of every class as many, however many it has. A class
            is what has the same targets in all heads.

    Returns:
        Mean loss of the last epoch; NaN without epochs.

    Raises:
        UserError: a mean loss that is not finite.
    """
    optimizer = torch.optim.Adam(heads.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(milestones), gamma=0.1)
    inputs = [features[min(i, len(features) - 1)] for i in range(len(heads))]
    heads.requires_grad_(True)
    mean, draw = math.nan, _even_rows(targets) if even else partial(torch.randperm, len(targets[0]))
    for epoch in range(1, epochs + 1):
        total = 0.0
        for rows in draw().to(targets[0].device).split(batch_size):  # type: ignore[no-untyped-call]
            losses = [
                nn.functional.cross_entropy(head(x[rows]), y[rows])
                for head, x, y in zip(heads, inputs, targets, strict=True)
            ]
            loss = torch.stack(losses).sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += float(loss.detach()) * len(rows)
        schedule.step()
        mean = total / len(targets[0])
        if not math.isfinite(mean):
            raise UserError(
                f"stage 2, the heads: the loss is not finite in epoch {epoch} of {epochs}, so the training has "
                f"diverged; type a lower --head_learning_rate than {learning_rate:g}."
            )
    return mean


def _even_rows(targets: Sequence[torch.Tensor]) -> Callable[[], torch.Tensor]:
    """Draws as many rows as there are, of every class as many."""
    _, label, count = torch.stack(list(targets)).unique(dim=1, return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    return partial(torch.multinomial, (1.0 / count)[label].cpu(), len(label), replacement=True)
