import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.transforms import Compose, OneOf, RandFlip, RandGaussianNoise, RandRotate90

from dynammo.errors import UserError
from dynammo.training.random_state import random_states, restore_random_states

IMAGE = torch.rand(1, 5, 5)


def augmentation() -> Compose:
    return Compose(
        [RandFlip(0.5), OneOf([RandGaussianNoise(0.7), RandRotate90(0.5)]), {"inner": [RandFlip(0.5, 1)]}["inner"][0]]
    )


def draw(transform: Compose, count: int) -> list[float]:
    """What everything that draws random numbers draws next."""
    drawn = []
    for _ in range(count):
        drawn += [random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), float(torch.rand(1))]
        drawn += [float((transform(IMAGE) * torch.arange(25.0).view(1, 5, 5)).sum())]
    return drawn


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**31 - 1), before=st.integers(0, 5), between=st.integers(0, 5))
def test_what_is_drawn_next_comes_back(seed: int, before: int, between: int) -> None:
    transform = augmentation().set_random_state(seed)
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
    draw(transform, before)
    states = random_states(transform)
    expected = draw(transform, 3)
    draw(transform, between)
    again = augmentation().set_random_state(seed + 1)
    restore_random_states(states, again)
    assert draw(again, 3) == expected


def test_states_are_loaded_without_unpickling(tmp_path: object) -> None:
    import io

    file = io.BytesIO()
    torch.save(random_states(augmentation()), file)
    file.seek(0)
    restore_random_states(torch.load(file, weights_only=True), augmentation())


def test_another_augmentation_is_refused() -> None:
    with pytest.raises(UserError, match="the augmentation has 1 random parts"):
        restore_random_states(random_states(augmentation()), RandFlip(0.5).set_random_state(0))
