"""The measures themselves: what they say of maps whose worth is known."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Trained

from benchmarks.heat_maps import MAPS, Faithfulness, Images, benchmark_heat_maps, compare, judge
from dynammo.errors import UserError

SIDE = 24


class LightAbove:
    """Stands in for a network: its first class is as likely as the upper left corner is bright."""

    def classify(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        light = images[:, 0, :8, :8].mean((1, 2)).clamp(0, 1)[:, None]
        return torch.cat([light, 1 - light], dim=1), light


def pictures() -> Images:
    images = torch.zeros(3, 3, SIDE, SIDE)
    images[:, :, :8, :8] = 0.9
    return Images(LightAbove(), images)  # type: ignore[arg-type]


def test_a_map_of_what_counts_is_better_than_one_of_the_rest() -> None:
    of, corner = pictures(), torch.zeros(3, 3, 3)
    corner[:, 0, 0] = 1
    right, wrong = judge(of, corner), judge(of, 1 - corner)
    assert right.lost > 0.15 and right.lost > wrong.lost + 0.15
    assert right.deletion < wrong.deletion and right.insertion > wrong.insertion
    assert right.ring == 100 and judge(of, MAPS["disc in the centre"](of)).ring == 0
    found = MAPS["occlusion, 49 passes"](of)
    assert found.shape == (3, 7, 7) and int(found[0].argmax()) in (0, 1, 7, 8)


def test_an_even_map_blurs_as_much_as_any_other() -> None:
    found = judge(pictures(), torch.zeros(3, 2, 2))  # ties are taken from the top
    assert 0 <= found.deletion <= 1 and 0 <= found.insertion <= 1


def test_bars_are_of_the_disc_and_on_derm8_of_occlusion() -> None:
    lost = dict(zip(MAPS, (0.3, 0.2, 0.1, 0.25, 0.33), strict=True))
    found = {name: Faithfulness(value, 0.5, 0.5, 10) for name, value in lost.items()}
    assert [(bar.met, round(bar.ratio, 3)) for bar in compare("run", "derm8", found)] == [(True, 0.05), (False, 0.03)]
    assert len(compare("run", "path11", found)) == 1


def test_runs_are_measured_on_their_test_images(trained: Trained, tmp_path: Path) -> None:
    run = trained("analytic")
    benchmark_heat_maps([run], 3, tmp_path / "out.json")
    record: dict[str, Any] = json.loads((tmp_path / "out.json").read_text())
    found = record["runs"][run.name]
    assert found["images"] == 3 and set(found["maps"]) == set(MAPS) and record["command"]
    assert all(0 <= one["ring"] <= 100 for one in found["maps"].values())
    with pytest.raises(UserError):
        benchmark_heat_maps([tmp_path])
