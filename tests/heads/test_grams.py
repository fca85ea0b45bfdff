import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dynammo.heads import linear_algebra as grams
from dynammo.heads.linear_algebra import add_gram, gram, mirror


@settings(deadline=None, max_examples=40)
@given(
    images=st.integers(0, 20), copies=st.integers(1, 3), features=st.integers(1, 12), weighted=st.booleans(),
    seed=st.integers(0, 1000),
)  # fmt: skip
def test_a_gram_is_the_sum_of_outer_products(
    images: int, copies: int, features: int, weighted: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(images, copies, features, generator=generator)
    weights = torch.rand(images, generator=generator, dtype=torch.float64) if weighted else None
    exact = torch.zeros(features, features, dtype=torch.float64)
    for i, image in enumerate(rows.double()):
        for copy in image:
            exact += (1.0 if weights is None else weights[i]) * torch.outer(copy, copy) / copies
    torch.testing.assert_close(gram(rows, weights), exact, atol=1e-10, rtol=0)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = torch.randn(23, 2, 5)
    whole = gram(rows)
    monkeypatch.setattr(grams, "CHUNK", 4)
    torch.testing.assert_close(gram(rows), whole, atol=1e-12, rtol=0)


def test_what_lies_below_the_diagonal_stays() -> None:
    matrix = torch.full((4, 4), 7.0, dtype=torch.float64)
    rows = torch.randn(9, 1, 4)
    add_gram(matrix, rows)
    assert (matrix.tril(-1)[matrix.tril(-1) != 0] == 7).all()
    torch.testing.assert_close(matrix.triu(), (7 + gram(rows)).triu())


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 700])
def test_mirrored_matrices_are_symmetric(size: int) -> None:
    matrix = torch.randn(size, size, dtype=torch.float64)
    upper = matrix.triu()
    mirrored = mirror(matrix)
    assert torch.equal(mirrored, mirrored.T)
    assert torch.equal(mirrored.triu(), upper)
