"""What is measured as it grows is real work."""

import pytest
import torch

from benchmarks import growth_measures
from benchmarks.growth_measures import GrowthSettings, measure_images, up_to
from dynammo.errors import UserError
from dynammo.heads.analytic import ClassStatistics, add_classes
from dynammo.heads.scatters import ClassScatters, pool

TINY = GrowthSettings(
    image_size=32, stages=1, batch_size=2, repeats=1, tasks=(1, 2), classes=(4, 6), images=(1000, 1500)
)


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
    another, pooled = growth_measures.rescaled, growth_measures.pool

    def recorded(base: torch.Tensor, number: int) -> torch.Tensor:
        vectors.append(another(base, number))
        return vectors[-1]

    def pooling(scatters: ClassScatters) -> ClassStatistics:
        kept.append(scatters)
        return pooled(scatters)

    monkeypatch.setattr(growth_measures, "rescaled", recorded)
    monkeypatch.setattr(growth_measures, "pool", pooling)
    seconds, memory, state = measure_images(TINY, lambda line: None)
    assert kept[-1].counts.sum() == 1500 and len(vectors) == 4 + 1  # 400, 400, 200; 400, 100
    rows = torch.cat([chunk[:n] for chunk, n in zip(vectors, (400, 400, 200, 400, 100), strict=True)])
    labels = torch.cat([torch.arange(n) % 8 for n in (400, 400, 200, 400, 100)])
    expected = add_classes(ClassStatistics.empty(TINY.features), rows[:, None], labels)
    torch.testing.assert_close(pool(kept[-1]).gram, expected.gram, rtol=1e-9, atol=1e-9)
    assert state.values[0] == state.values[1] and seconds.values[1] > seconds.values[0] and memory.values[0] > 0
