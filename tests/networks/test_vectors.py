"""The encoder of vectors gives them as they are, by the contract of every encoder."""

import pytest
import torch

from dynammo.errors import UserError
from dynammo.networks.encoder_sources import open_encoder, rebuilt_encoder
from dynammo.networks.encoders import Encoder
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.networks.vectors import MOST_FEATURES, Vectors, vectors_encoder


def test_vectors_come_out_as_they_went_in() -> None:
    vectors = torch.randn(3, 5, 1, 1)
    encoder = vectors_encoder("5")
    assert isinstance(encoder, Encoder)
    assert isinstance(encoder.module, Vectors)
    assert all(torch.equal(found, vectors) for found in encoder(vectors))
    opened = open_encoder("vectors:5", "own", 1, 2, 5)
    assert rebuilt_encoder(opened.about).about == opened.about == encoder.about


def test_a_network_of_vectors_has_them_as_features() -> None:
    network = IncrementalNetwork("vectors:5", 1, "own", "none", "analytic", in_channels=5, image_size=1)
    vectors = torch.randn(3, 5, 1, 1)
    assert torch.equal(network.classifier().features(vectors)[0], vectors[:, :, 0, 0])


@pytest.mark.parametrize("width", ["", "0", "five", str(MOST_FEATURES + 1)])
def test_no_width_is_refused(width: str) -> None:
    with pytest.raises(UserError, match="is no width of vectors"):
        vectors_encoder(width)
