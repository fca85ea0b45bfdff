"""The study of copies: held-out images judge every choice, groups stay together."""

from pathlib import Path

import pytest
import torch

from benchmarks.studies.copies import CHOICES, FOLDS, LOOKS, MIRRORED, OTHERS, groups_in, recalls


def made(separable: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[str]]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(20)
    centres = 5 * torch.eye(3)[labels] if separable else torch.zeros(60, 3)

    def seen(count: int) -> torch.Tensor:
        return centres[:, None] + 0.1 * torch.randn(60, count, 3, generator=generator)

    return seen(MIRRORED + OTHERS), seen(len(LOOKS)), labels, [str(i) for i in range(60)]


def test_classes_that_differ_are_told_apart_with_every_choice() -> None:
    found = recalls(*made(separable=True))
    assert found.keys() == CHOICES.keys()
    assert [value for one in found.values() for value in one["recall"].values()] == pytest.approx(
        [100] * len(CHOICES) * len(LOOKS)
    )


def test_classes_that_do_not_differ_are_guessed() -> None:
    values = [value for one in recalls(*made(separable=False)).values() for value in one["recall"].values()]
    assert 15 < sum(values) / len(values) < 55


def test_groups_are_those_of_the_manifest_where_there_are_enough(tmp_path: Path) -> None:
    rows = [f"train/many/{i}.png,many,train,g{i // 2}" for i in range(2 * FOLDS)]
    rows += ["train/few/a.png,few,train,one", "train/few/b.png,few,train,one", "test/few/c.png,few,test,one"]
    (tmp_path / "manifest.csv").write_text("\n".join(["path,class,split,group", *rows]))
    groups = groups_in(tmp_path)
    assert groups[tmp_path / "train/many/0.png"] == groups[tmp_path / "train/many/1.png"] == "g0"
    assert groups[tmp_path / "train/few/a.png"] != groups[tmp_path / "train/few/b.png"]
    assert tmp_path / "test/few/c.png" not in groups
