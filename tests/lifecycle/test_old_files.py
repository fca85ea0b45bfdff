"""Runs and an export made by 0.1.0 still load, learn, forget and combine (docs/migration.md).

from_0_1_0/ holds tiny runs, one stage of a ResNet on images of one colour: `dynammo` (adapter scale_shift, two tasks of
two classes), `analytic_here` and `analytic_there` (two sites, a task for each of two classes) and what
`dynammo export` made of the first site. expected.json is what 0.1.0 says of IMAGES.
"""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from synthetic.datasets import make_data, write_image

from dynammo.lifecycle.commands import LearnSettings, combine, forget, learn
from dynammo.lifecycle.history import history_of
from dynammo.runs.load import load_model
from dynammo.runs.record import locate_model, read_record

OLD = Path(__file__).with_name("from_0_1_0")
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with all old runs in it, and the images they were trained on."""
    for archive in OLD.glob("*.zip"):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(tmp_path)
    make_data(tmp_path / "colours")
    for site, others in (("here", ("red", "white")), ("there", ("blue", "green"))):
        for folder in [p for p in make_data(tmp_path / site).glob("*/*") if p.name in others]:
            shutil.rmtree(folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def new_class(folder: Path) -> Path:
    """Images of one more class."""
    for split, count in (("train", 5), ("test", 2)):
        for i in range(count):
            write_image(folder / split / "grey" / f"{i}.png", "white", 900 + 10 * (split == "test") + i)
    return folder


@pytest.mark.parametrize("name", ["dynammo", "analytic_here", "exported_classification"])
def test_it_loads_under_the_names_of_today(old: Path, name: str) -> None:
    model = load_model(old / name)
    assert model.network.out_of_distribution is not None
    assert model.record["network"]["out_of_distribution"] == len(model.record["classes"])
    assert model.record["trust"]["out_of_distribution_threshold"] > 0 and "looks" not in model.record["network"]
    expected = json.loads((OLD / "expected.json").read_text())[name]  # by 0.1.0
    with torch.inference_mode():
        rows, score = model.network(IMAGES), model.network.ood_score(model.network.maps(IMAGES))
    torch.testing.assert_close(rows, torch.tensor(expected["rows"]))
    torch.testing.assert_close(score, torch.tensor(expected["strangeness"]))


def test_the_torchscript_of_an_export_gives_what_its_weights_give(old: Path) -> None:
    models = old / "exported_classification" / "models"
    with torch.inference_mode():
        assert torch.equal(load_model(models / "model.ts").network(IMAGES), load_model(models).network(IMAGES))


@pytest.mark.parametrize("name", ["dynammo", "analytic_here", "exported_classification"])
def test_it_learns_a_class(old: Path, name: str) -> None:
    before = load_model(old / name).record["classes"]
    learn(old / name, new_class(old / "grey"), old / "learnt", LearnSettings(max_drop=100.0, mlflow=False))
    assert load_model(old / "learnt").record["classes"] == [*before, "grey"]
    assert [entry["event"] for entry in history_of(old / "learnt")] == ["learnt"] * 3


def test_it_forgets_a_task(old: Path) -> None:
    for name, left in (("dynammo", ["blue", "green"]), ("analytic_here", ["blue"])):
        forget(old / name, old / f"{name}_less", task=2, mlflow=False)
        assert load_model(old / f"{name}_less").record["classes"] == left


def test_two_sites_combine(old: Path) -> None:
    combine(old / "analytic_here", old / "analytic_there", old / "both", mlflow=False)
    model = load_model(old / "both")
    assert model.record["classes"] == ["blue", "green", "red", "white"]
    assert model.network.out_of_distribution is not None


def test_the_history_reads_on(old: Path) -> None:
    for name in ("dynammo", "exported_classification"):
        assert [entry["event"] for entry in history_of(old / name)] == ["learnt", "learnt"]


def test_the_record_says_what_it_said(old: Path) -> None:
    located = locate_model(old / "dynammo")
    assert located is not None
    record = read_record(*located)
    assert record["method"] == "dynammo" and record["config"]["adapter"] == "scale_shift"
