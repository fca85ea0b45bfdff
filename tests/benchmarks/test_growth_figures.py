"""The power of x that a series follows, and its picture."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.growth_figures import Series, fit_power, growth_figure


@given(power=st.floats(-2, 3), factor=st.floats(1e-3, 1e3))
def test_a_power_is_found_again(power: float, factor: float) -> None:
    sizes = [1, 3, 10, 50]
    found, fit = fit_power(sizes, [factor * size**power for size in sizes])
    assert found == pytest.approx(power, abs=1e-6)
    assert fit > 0.999 or abs(power) < 1e-3


def test_noise_lowers_the_fit() -> None:
    power, fit = fit_power([1, 10, 100, 1000], [1.0, 30.0, 20.0, 1000.0])
    assert 0.5 < power < 1.2 and 0.5 < fit < 0.95


def test_what_hardly_changes_is_flat() -> None:
    assert Series("tasks", "a", "MB", (1, 50), (1.0, 1.02)).slope == (0.0, 1.0)
    growing = Series("tasks", "a", "MB", (1, 51), (1.0, 101.0))
    assert growing.slope[0] > 1 and growing.per_step == 2.0 and growing.growth == 101.0


def test_one_size_does_not_grow() -> None:
    alone = Series("images", "a", "MB", (1000,), (5.0,))
    assert (alone.slope, alone.growth, alone.per_step) == ((0.0, 1.0), 1.0, 0.0)


def test_the_picture_names_every_line() -> None:
    series = [
        Series(axis, f"{axis} {unit}", unit, (1, 10), (1.0, 5.0))
        for axis in ("tasks", "classes", "images")
        for unit in ("core s", "MB")
    ]
    figure = growth_figure(series)
    words = [text.get_text() for axes in figure.axes for text in axes.get_legend().get_texts()]
    kinds = [f"{axis} {unit}" for unit in ("core s", "MB") for axis in ("tasks", "classes", "images")]
    assert [word.split(":")[0] for word in words] == kinds
    assert all("0.70" in word for word in words)
