"""Adapters of an earlier run, merged otherwise without training again."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic.runs import make_trainer, without_plots

from dynammo.errors import UserError
from dynammo.lifecycle.reuse_adapters import ReuseAdapters
from dynammo.networks.adapters import copy_state
from dynammo.runtime.files import load_state

pytestmark = pytest.mark.usefixtures("in_root", "no_plots")


@pytest.fixture(scope="module")
def acl(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose adapters are kept apart."""
    folder = tmp_path_factory.mktemp("earlier") / "acl"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).parents[2])
        without_plots(patch)
        make_trainer(tiny_data, folder, "acl").learn()
    return folder


def test_adapters_are_those_of_the_earlier_run_and_are_merged(acl: Path, tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "merged", "dynammo", adapters_from=str(acl))
    trainer.learn()
    assert len(trainer.results) == 3 and not trainer.losses  # learnt, and nothing was fitted
    kept = [load_state(acl / "tasks" / f"{n}.pt")["handlers"]["MergeAdapters"]["adapters"] for n in (1, 2, 3)]
    (merged,) = trainer.network.branches
    for name, value in copy_state(merged).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([state[name] for state in kept]).mean(0))
    assert all(torch.equal(v, kept[-1][k]) for k, v in copy_state(trainer.network.adapters).items())


def test_the_same_merging_gives_the_same_branches(acl: Path, tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "again", "acl", adapters_from=str(acl))
    trainer.learn()
    before, after = load_state(acl / "model.pt"), load_state(tmp_path / "again" / "model.pt")
    branches = [name for name in before if name.startswith("branches.")]
    assert branches and all(torch.equal(before[name], after[name]) for name in branches)


def test_batch_norm_is_measured_on_what_stage_1_saw(acl: Path, tiny_data: Path, tmp_path: Path) -> None:
    runs = {}
    for treatment in ("average", "recalibrate"):
        trainer = make_trainer(
            tiny_data, tmp_path / treatment, adapters_from=str(acl), merge_batchnorm=treatment
        )  # fmt: skip
        trainer.learn()
        runs[treatment] = copy_state(trainer.network.branches[0])
        assert {item["label"] for item in trainer.trainer.data_loader.dataset.data} == {0, 1}  # last class, others
    means = [name for name in runs["average"] if name.endswith("running_mean")]
    assert any(not torch.equal(runs["average"][name], runs["recalibrate"][name]) for name in means)


def test_heads_that_read_other_features_start_anew(acl: Path, tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "refit", "dynammo_refit", adapters_from=str(acl))
    trainer.learn()
    assert trainer.network.heads[0].in_features == 256  # mean and deviation of the stem and of one layer
    assert len(trainer.results) == 3 and len(trainer.network.branches) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"increments": 2}, "learnt other tasks"),
        ({"power": 0.5}, "read other features .* type --head_refit True"),
        ({"epochs": 4}, "epochs is 4, but the adapters of .* were fitted with 3; type --epochs 3"),
    ],
)
def test_another_stage_1_is_refused(
    settings: dict[str, Any], message: str, acl: Path, tiny_data: Path, tmp_path: Path
) -> None:
    with pytest.raises((UserError, RuntimeError)) as caught:
        make_trainer(tiny_data, tmp_path / "other", adapters_from=str(acl), **settings)
    errors = [caught.value, caught.value.__cause__, caught.value.__context__]
    found = next(str(e) for e in errors if isinstance(e, UserError))
    assert re.search(message, found)


def test_a_run_of_before_may_have_seen_smaller_images(acl: Path, tiny_data: Path, tmp_path: Path) -> None:
    record = json.loads((acl / "run.json").read_text())
    record["config"]["small_epochs"] = 2
    del record["config"]["mixed_precision"]
    (tmp_path / "earlier").mkdir()
    (tmp_path / "earlier" / "run.json").write_text(json.dumps(record))
    make_trainer(tiny_data, tmp_path / "run", adapters_from=str(tmp_path / "earlier"))


def test_what_is_no_run_or_has_kept_nothing_is_refused(acl: Path, tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises((UserError, RuntimeError)):
        make_trainer(tiny_data, tmp_path / "none", adapters_from=str(tmp_path))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "run.json").write_text(json.dumps(json.loads((acl / "run.json").read_text())))
    trainer = make_trainer(tiny_data, tmp_path / "kept", adapters_from=str(bare))
    with pytest.raises(UserError, match="has not kept the adapters and the head of task 1"):
        trainer.learn()


def test_a_folder_without_a_run_is_refused_at_once(tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "run")
    with pytest.raises(UserError, match=r"holds no run\.json of a training"):
        ReuseAdapters(tmp_path / "nowhere", {}).attach(trainer)
