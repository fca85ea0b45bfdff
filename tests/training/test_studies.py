import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dynammo.training.metrics import study_means


def test_slices_are_averaged_in_the_order_of_their_studies() -> None:
    probabilities = np.array([[0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.3, 0.7]])
    studies, counts, (means, labels) = study_means(["b", "a", "b", "a"], probabilities, np.array([1, 0, 1, 0]))
    assert (studies, counts) == (["b", "a"], [2, 2])
    np.testing.assert_allclose(means, [[0.6, 0.4], [0.2, 0.8]])
    assert labels.tolist() == [1, 0]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=20))
def test_probabilities_still_sum_to_one(studies: list[str]) -> None:
    rows = np.random.default_rng(len(studies)).dirichlet(np.ones(3), len(studies))
    names, counts, (means,) = study_means(studies, rows)
    assert sum(counts) == len(studies) and set(names) == set(studies)
    np.testing.assert_allclose(means.sum(1), 1)


def test_images_alone_stay_as_they_are() -> None:
    rows = np.random.default_rng(0).random((3, 4))
    assert study_means(["x", "y", "z"], rows)[2][0] is rows
