"""Adapters taught otherwise than by labels of their task."""

from types import ModuleType

import pytest
import torch

from benchmarks.studies import adapters_taught
from dynammo.networks.adapters import copy_state
from dynammo.networks.merged_classifier import MergedClassifier


@pytest.fixture(scope="module")
def taught() -> ModuleType:
    return adapters_taught


def test_the_contrastive_loss_is_that_of_its_formula(taught: ModuleType) -> None:
    codes, groups = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1, 1, 0])
    unit = codes / codes.norm(dim=1, keepdim=True)
    expected = []
    for i in range(6):
        others = [j for j in range(6) if j != i]
        whole = torch.stack([(unit[i] @ unit[j] / taught.TEMPERATURE).exp() for j in others]).sum()
        mates = [j for j in others if groups[j] == groups[i]]
        shares = [(unit[i] @ unit[j] / taught.TEMPERATURE).exp() / whole for j in mates]
        expected.append(-torch.stack(shares).log().mean())
    torch.testing.assert_close(taught.contrastive_loss(codes, groups), torch.stack(expected).mean())


def test_codes_of_a_group_that_agree_cost_less(taught: ModuleType) -> None:
    codes = torch.eye(2).repeat(2, 1)
    alike, apart = torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1])
    assert taught.contrastive_loss(codes, alike) < taught.contrastive_loss(codes, apart)


def test_fitting_moves_the_adapters_alone(taught: ModuleType) -> None:
    torch.manual_seed(0)
    classifier = MergedClassifier([1], stages=1).eval()
    images, adapters = torch.randn(6, 3, 40, 40), copy_state(classifier.branches[0])
    backbone = copy_state(classifier.backbone)
    taught.fit(classifier.branches[0], lambda batch: classifier.maps(images[batch])[0][-1].square().mean(), 6, 2, [])
    fitted = classifier.branches[0].state_dict()
    assert any(not torch.equal(value, adapters[name]) for name, value in fitted.items())
    assert all(torch.equal(value, backbone[name]) for name, value in classifier.backbone.state_dict().items())
    assert not classifier.branches[0].training
