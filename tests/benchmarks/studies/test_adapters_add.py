"""The study of adapters under analytic heads."""

from types import ModuleType

import pytest
import torch

from benchmarks.studies import adapters_add
from dynammo.merging import State
from dynammo.networks.adapters import make_adapters
from dynammo.networks.merged_classifier import MergedClassifier


@pytest.fixture(scope="module")
def study() -> ModuleType:
    return adapters_add


def fitted(seed: int) -> State:
    torch.manual_seed(seed)
    return make_adapters("conv", [64]).state_dict()


def images(seed: int, count: int = 24) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return [{"image": torch.randn(3, 40, 40, generator=generator)} for _ in range(count)]


def grams(study: ModuleType, state: State, seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(9)
    classifier = MergedClassifier([1], stages=1).eval()
    classifier.branches[0].load_state_dict(state)
    found: dict[str, torch.Tensor] = study.input_grams(classifier, images(seed))
    return found


def test_regmean_of_one_task_is_that_task(study: ModuleType) -> None:
    state = fitted(0)
    merged = study.regmean([state], [grams(study, state, 0)], state)
    for name, value in state.items():
        torch.testing.assert_close(merged[name], value, atol=1e-3, rtol=1e-2)


def test_regmean_weighs_tasks_by_what_they_saw(study: ModuleType) -> None:
    first, second = fitted(0), fitted(1)
    inner, outer = grams(study, first, 0), grams(study, second, 1)
    little = {name: 1e-6 * gram for name, gram in outer.items()}
    merged = study.regmean([first, second], [inner, little], first)
    for name, gram in inner.items():  # what it gives on what the first has seen
        apart, before = (
            torch.einsum("ci,ij,cj->", rows, gram.float(), rows)
            for rows in (study.as_rows(name, state[name] - first[name]) for state in (merged, second))
        )
        assert apart < 1e-3 * before


def test_patches_times_rows_are_what_convolutions_give(study: ModuleType) -> None:
    """So that the least squares solve the right problem, turned kernels included."""
    adapter, x = make_adapters("conv", [4])[0], torch.randn(2, 4, 7, 7)
    for number, border in ((0, 0), (3, 2)):
        layer = adapter.branch[number]  # type: ignore[union-attr, index]
        patches = torch.nn.functional.unfold(x, 3, padding=border)
        rows = study.as_rows(f"0.branch.{number}.weight", layer.weight)
        expected = layer(x) - layer.bias.view(1, -1, 1, 1)
        torch.testing.assert_close((rows @ patches).view(expected.shape), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(study.from_rows(f"0.branch.{number}.weight", rows, layer.weight.shape), layer.weight)


def test_fisher_information_is_the_square_of_what_a_parameter_changes(study: ModuleType) -> None:
    torch.manual_seed(3)
    classifier = MergedClassifier([1], stages=1).eval()
    head = {"weight": torch.randn(3, 64), "bias": torch.randn(3)}
    batch = [{**image, "label": 4 + i % 2} for i, image in enumerate(images(0, 4))]
    found = study.fisher_information(classifier, head, batch, 4)
    alpha = classifier.branches[0][0].alpha  # type: ignore[union-attr, index]

    @torch.no_grad()
    def loss(change: float) -> float:
        alpha.data += change
        maps = classifier.maps(torch.stack([image["image"] for image in batch]))[0][-1].double()
        alpha.data -= change
        logits = maps.mean((2, 3)) @ head["weight"].double().T + head["bias"].double()
        return float(torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1, 0, 1])))

    slope = (loss(1e-2) - loss(-1e-2)) / 2e-2
    assert float(found["0.alpha"]) == pytest.approx(4 * slope**2, rel=0.05)
