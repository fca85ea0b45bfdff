"""Classification and the page ended at many moments: nothing of a patient is left, nor by kill -9 at the next start."""

import signal
from collections import Counter
from pathlib import Path

import pytest
from conftest import Trained
from synthetic.classify import end_serving, end_zip, images_in_zip, run, table

MOMENTS = [i * 0.7 for i in range(8)]


def left_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith((".un", "dynammo-")) or "Doe" in path.name]


@pytest.mark.parametrize("seconds", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_classification_of_a_zip_ended(
    number: int, seconds: float, trained: Trained, tmp_path: Path, count: Counter[str]
) -> None:
    source, out = images_in_zip(tmp_path, 500), tmp_path / "out"
    out.mkdir()
    options = ["--sort-into", str(out / "sorted")]
    if end_zip(source, out, trained(), number, seconds, *options) == 0:
        pytest.skip("it had ended when it was to be killed")
    count[f"by {signal.Signals(number).name}"] += 1
    if number != signal.SIGKILL:
        assert [path for path in left_in(out) if path.name.startswith(".un")] == []
    assert run(source, out, trained(), "--resume", *options) == 0
    assert [path for path in left_in(out) if path.name.startswith(".un")] == []
    assert len(table(out)) == 500


@pytest.mark.parametrize("seconds", MOMENTS[:4])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_the_page_ended_during_an_upload(
    number: int, seconds: float, trained: Trained, tmp_path: Path, count: Counter[str]
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    end_serving(temporary, trained(), number, seconds)
    count[f"by {signal.Signals(number).name}"] += 1
    if number == signal.SIGKILL:
        end_serving(temporary, trained(), signal.SIGTERM, seconds)
    assert left_in(temporary) == []
