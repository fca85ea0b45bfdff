"""Classification killed at any moment, two at one folder, files exchanged: every result is that of its image."""

import csv
import json
import random
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import Trained
from synthetic.datasets import CLASSES, write_image
from synthetic.processes import classification

KILLS = 30
IMAGES = 41  # the last pass of four is not full


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for i in range(IMAGES):
        write_image(folder / f"{i}.png", CLASSES[i % 4], i)
    (folder / "broken.png").write_bytes(b"\x89PNG cut short")
    return folder


Whole = tuple[Path, float]


@pytest.fixture(scope="module")
def whole(images: Path, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """A classification that nothing disturbs, and the seconds that it takes."""
    out = tmp_path_factory.mktemp("whole") / "out"
    for _ in range(2):  # the first imports what the others find imported
        started = time.monotonic()
        assert end(images, out, model=trained("dynammo")) == 3
    return out, time.monotonic() - started


def end(images: Path, out: Path, **settings: Any) -> int | None:  # noqa: ANN401
    """The exit code of a classification that comes to its end."""
    process = classification(images, out, out.with_name("log"), batch_size="4", **settings)
    process.join()
    return process.exitcode


def columns(out: Path) -> dict[str, list[str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def assert_same(out: Path, whole: Path) -> None:
    mine, others = columns(out), columns(whole)
    assert mine.keys() == others.keys()
    for name, column in others.items():
        assert mine[name] == column, name
    items = [json.loads((folder / "predictions.json").read_text())["items"] for folder in (out, whole)]
    assert items[0] == items[1]


@pytest.mark.parametrize("part", range(KILLS))
def test_classification_killed(
    part: int, images: Path, trained: Trained, whole: Whole, tmp_path: Path, count: Counter[str]
) -> None:
    out, chosen = tmp_path / "out", random.Random(part)
    for kill in range(1 + part % 3):  # once, or again when it is resumed
        process = classification(
            images, out, tmp_path / "log", batch_size="4", model=trained("dynammo"), resume=kill > 0
        )
        time.sleep(chosen.random() * whole[1])
        process.kill()
        process.join()
        count["kills" if process.exitcode == -9 else "had ended"] += 1
    assert end(images, out, model=trained("dynammo"), resume=True) == 3, (tmp_path / "log").read_text()
    assert_same(out, whole[0])
    count["resumed to the same results"] += 1


def test_files_exchanged_behind_a_kill(
    images: Path, trained: Trained, whole: Whole, tmp_path: Path, count: Counter[str]
) -> None:
    for share in (0.5, 0.7, 0.9):
        folder, out = shutil.copytree(images, tmp_path / f"images{share}"), tmp_path / f"{share}" / "out"
        out.parent.mkdir()
        process = classification(folder, out, tmp_path / "log", batch_size="4", model=trained("dynammo"))
        time.sleep(share * whole[1])
        process.kill()
        process.join()
        for i in range(0, IMAGES - 1, 2):
            shutil.copyfile(images / f"{i + 1}.png", folder / f"{i}.png")
            shutil.copyfile(images / f"{i}.png", folder / f"{i + 1}.png")
        assert end(folder, out, model=trained("dynammo"), resume=True) == 3, (tmp_path / "log").read_text()
        undisturbed = tmp_path / f"{share}" / "whole"
        assert end(folder, undisturbed, model=trained("dynammo")) == 3
        assert_same(out, undisturbed)
        count["resumed with exchanged files"] += 1


def test_two_classifications_at_one_folder(
    images: Path, trained: Trained, whole: Whole, tmp_path: Path, count: Counter[str]
) -> None:
    for number in range(5):
        out = tmp_path / f"{number}"
        both = [
            classification(images, out, tmp_path / f"log{i}", batch_size="4", model=trained("dynammo"))
            for i in range(2)
        ]
        for process in both:
            process.join()
        assert sorted(process.exitcode or 0 for process in both) == [1, 3]
        said = [(tmp_path / f"log{i}").read_text() for i in range(2)]
        assert sum("another classification writes to" in text for text in said) == 1
        assert_same(out, whole[0])
        count["pairs, one of which was refused"] += 1
