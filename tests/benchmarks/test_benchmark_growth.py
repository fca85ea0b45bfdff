import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from benchmarks import growth as growth_measures
from benchmarks.benchmark_growth import benchmark_growth, compare
from benchmarks.growth import GrowthSettings, measure_images, up_to
from benchmarks.growth_fits import Series, fit_power
from benchmarks.growth_plot import growth_figure
from dynammo.errors import UserError
from dynammo.heads.analytic import ClassStatistics, add_classes
from dynammo.heads.scatters import ClassScatters, pool

TINY = GrowthSettings(
    image_size=32, stages=1, batch_size=2, repeats=1, tasks=(1, 2), classes=(4, 6), images=(1000, 1500)
)


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


def test_bars_look_at_the_power() -> None:
    def series(seconds: float, memory: float) -> list[Series]:
        return [
            Series("tasks", "one image, merged", "core ms", (1, 50), (1.0, seconds)),
            Series("images", "memory of the process at most", "MB", (1000, 1_000_000), (1.0, memory)),
        ]

    assert [bar.met for bar in compare(series(1.1, 1.05))] == [True, True]
    assert [bar.met for bar in compare(series(1.3, 2.0))] == [False, False]


def test_sizes_are_powers_of_ten() -> None:
    assert up_to(1_000_000) == (1_000, 10_000, 100_000, 1_000_000)
    assert up_to(25_000) == (1_000, 10_000, 25_000)
    with pytest.raises(UserError, match="images is 999; give --images"):
        GrowthSettings(images=up_to(999))


def test_the_stream_learns_what_all_at_once_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulated loop does the real work: its scatters are those of all its vectors together."""
    kept: list[ClassScatters] = []
    vectors = []
    monkeypatch.setattr(growth_measures, "CHUNK", 400)
    another, pooled = growth_measures._another, growth_measures.pool

    def recorded(base: torch.Tensor, number: int) -> torch.Tensor:
        vectors.append(another(base, number))
        return vectors[-1]

    def pooling(scatters: ClassScatters) -> ClassStatistics:
        kept.append(scatters)
        return pooled(scatters)

    monkeypatch.setattr(growth_measures, "_another", recorded)
    monkeypatch.setattr(growth_measures, "pool", pooling)
    seconds, memory, state = measure_images(TINY, lambda line: None)
    assert kept[-1].counts.sum() == 1500 and len(vectors) == 4 + 1  # 400, 400, 200; 400, 100
    rows = torch.cat([chunk[:n] for chunk, n in zip(vectors, (400, 400, 200, 400, 100), strict=True)])
    labels = torch.cat([torch.arange(n) % 8 for n in (400, 400, 200, 400, 100)])
    expected = add_classes(ClassStatistics.empty(TINY.features), rows[:, None], labels)
    torch.testing.assert_close(pool(kept[-1]).gram, expected.gram, rtol=1e-9, atol=1e-9)
    assert state.values[0] == state.values[1] and seconds.values[1] > seconds.values[0] and memory.values[0] > 0


def test_the_command_writes_figures_and_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(growth_measures, "IMAGES_OF_A_TASK", 40)
    benchmark_growth(TINY, tmp_path / "growth.json", tmp_path / "growth.png")
    record = json.loads((tmp_path / "growth.json").read_text())
    found = {(one["axis"], one["quantity"]): one for one in record["series"]}
    assert len(found) == 11 and {axis for axis, _ in found} == {"tasks", "classes", "images"}
    assert all(len(one["sizes"]) == len(one["values"]) == 2 and min(one["values"]) > 0 for one in found.values())
    assert found["tasks", "model, ACL"]["growth"] > found["tasks", "model, merged"]["growth"]
    assert found["classes", "class scatters in tasks/"]["power"] == pytest.approx(1.0, abs=0.01)
    assert record["settings"]["features"] == TINY.features == 512
    assert Image.open(tmp_path / "growth.png").size[0] > 1000
    assert "what should not grow" in capsys.readouterr().out


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


def test_unwritable_files_are_refused_before_measuring(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be written"):
        benchmark_growth(TINY, plot=tmp_path / "missing" / "growth.png")
