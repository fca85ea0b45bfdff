import numpy as np
import pytest
import torch

from dynammo.errors import UserError
from dynammo.training.copies import DEVIATION, MEAN, copies_of, photometric


def pixels(images: torch.Tensor) -> torch.Tensor:
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return images * deviation + mean


def images(count: int) -> torch.Tensor:
    grey = torch.linspace(0.1, 0.9, 64).view(1, 1, 8, 8).expand(count, 3, 8, 8)
    mean, deviation = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, DEVIATION))
    return (grey - mean) / deviation


def test_a_copy_depends_on_its_image_alone() -> None:
    together, alone = photometric(images(3), [5, 6, 7]), photometric(images(1), [6])
    assert torch.equal(together[1], alone[0]) and not torch.equal(together[0], together[1])
    assert not torch.equal(photometric(images(1), [6], number=1), alone)


def test_a_copy_is_brighter_tinted_and_of_another_gamma() -> None:
    changed = pixels(photometric(images(500), range(500)))
    assert changed.min() >= -1e-6 and changed.max() <= 1 + 1e-6
    middle = changed[:, :, 3, 4].log() - pixels(images(1))[0, 0, 3, 4].log()  # (500, 3)
    assert 0.15 < float(middle.mean(1).std()) < 0.3 and 0.04 < float(middle.std(1).mean()) < 0.1


def test_copies_are_mirrored_each_another_way() -> None:
    picture = torch.arange(12.0).view(1, 1, 3, 4)
    plain = copies_of("both")
    assert [copy(picture, [0]).flatten()[0].item() for copy in plain] == [0, 3, 8, 11]
    assert len(copies_of("horizontal", 2)) == 4 and len(copies_of("none")) == 1
    first, second = copies_of("horizontal", 2)[2:]
    upright = images(1)
    assert torch.allclose(first(upright, [3]), photometric(upright.flip(-2), [3], 0))
    assert torch.allclose(second(upright, [3]), photometric(upright.flip((-2, -1)), [3], 1))
    with pytest.raises(UserError, match="mirrored is 'up'"):
        copies_of("up")


def test_volumes_are_changed_alike() -> None:
    volume = images(2)[:, :, None].expand(2, 3, 4, 8, 8)
    assert np.allclose(photometric(volume, [1, 2])[:, :, 0], photometric(images(2), [1, 2]), atol=1e-6)
