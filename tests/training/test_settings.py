"""The table of settings, and what is derived from it: checks, records, what must agree, what may change, pages."""

import ast
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from synthetic.datasets import ROOT

from dynammo.errors import UserError
from dynammo.lifecycle import combine, reuse_adapters
from dynammo.runs.resume import CHANGEABLE, WITHOUT_EFFECT, check_unfinished
from dynammo.training import settings as module
from dynammo.training.config_checks import check_options, check_settings
from dynammo.training.settings import MISSING, RECIPE, REMOVED, SETTINGS, recorded_names, refuse_removed, updated

TRAIN = ROOT / "bundle" / "configs" / "train.yaml"


def test_every_value_at_the_top_of_the_config_is_a_setting() -> None:
    values = {name for name, value in yaml.safe_load(TRAIN.read_text()).items() if not isinstance(value, dict)}
    rest = {"imports", "bundle_root", "network", "initialize", "training", "run"}
    assert values - rest <= SETTINGS.keys()


@pytest.mark.parametrize("setting", [s for s in SETTINGS.values() if s.rule.allows is not None], ids=lambda s: s.name)
def test_defaults_pass_and_what_is_wrong_is_a_sentence(setting: module.Setting) -> None:
    setting.check(setting.default)
    if setting.before is not MISSING:
        setting.check(setting.before)
    name, expected = setting.name, setting.rule.expected
    with pytest.raises(UserError) as caught:
        setting.check("non::sense")
    assert str(caught.value) == f"{name} is 'non::sense'; expected {expected}: type --{name} VALUE."
    if setting.record != "no":
        inside: dict[str, Any] = {name: "non::sense"}
        with pytest.raises(UserError, match=f"{name} is 'non::sense'"):
            check_settings({"recipe": inside} if name in RECIPE else inside)


def test_what_is_recorded_is_what_a_record_has_held_since_there_are_records() -> None:
    recorded = yaml.safe_load(TRAIN.read_text())["settings"]
    assert tuple(recorded) == recorded_names(lambda setting: setting.record != "no")
    assert recorded["epochs"] == "@epochs" and recorded["recipe"] == "@recipe"
    assert recorded["mixed_precision"] == "$wants_mixed_precision(@mixed_precision, @device)"


def test_what_must_agree_and_what_may_change() -> None:
    assert {"recipe", "adapter", "merge_strategy", "shrinkage"} <= set(combine.SAME)
    assert not {"epochs", "exemplars", "seed", "weights"} & set(combine.SAME)
    assert {"recipe", "seed", "weights", "epochs", "mixed_precision"} <= set(reuse_adapters.SAME)
    assert not {"taps", "exemplars", "merge_strategy", "head_epochs", "workers"} & set(reuse_adapters.SAME)
    assert {"epochs", "learning_rate", "workers", "head_copies"} <= set(CHANGEABLE) and "seed" not in CHANGEABLE
    assert set(WITHOUT_EFFECT) == {"cache_images", "cache_dir"}


def test_records_of_earlier_versions_are_read_as_they_were_meant() -> None:
    old = {"epochs": 3, "head_images": "all", "small_epochs": 2}
    assert updated(old) == {
        "epochs": 3, "head_images": "all", "head_refit": False, "mixed_precision": False, "distillation": 0.0,
        "photometric": 0,
    }  # fmt: skip
    assert updated(updated(old)) == updated(old)


def test_a_setting_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    assert not REMOVED.keys() & SETTINGS.keys()
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("small_epochs: 0\n")
    for arguments in (
        ["--config_file", str(TRAIN), "--small_epochs", "8"],
        ["--config_file", str(TRAIN), "--small_epochs=0"],
        ["--config_file", f"['{TRAIN}','{overlay}']"],
    ):
        with pytest.raises(UserError, match=r"small_epochs was taken out in 0\.2\.0: .*; leave it out\."):
            check_options(["run", "training", *arguments])
    refuse_removed(SETTINGS)


def test_an_overlay_of_before_is_told_where_things_are_now(tmp_path: Path) -> None:
    overlay = tmp_path / "old.yaml"
    for text, sentence in (
        ("stain_normaliser: {_target_: Identity}", "stands in preprocessing.yaml"),
        ("validate#x: {_target_: dynammo.tracking.LogTaskToMLflow}", "is now dynammo.runs.LogTaskToMLflow"),
    ):
        overlay.write_text(text)
        with pytest.raises(UserError, match=sentence):
            check_options(["run", "training", "--config_file", f"['{TRAIN}','{overlay}']"])


def unfinished(folder: Path, **settings: Any) -> Path:  # noqa: ANN401
    """A folder with an unfinished run that an earlier version began."""
    known = {"key": "k", "settings": settings, "tasks": [], "images": ""}
    (folder / "unfinished.json").write_text(json.dumps(known))
    return folder


def test_an_unfinished_run_of_before_resumes_unless_it_saw_smaller_images(tmp_path: Path) -> None:
    now = {"epochs": 3, "mixed_precision": False}
    check_unfinished(unfinished(tmp_path, epochs=3, small_epochs=0), now)
    with pytest.raises(UserError, match="epochs was 2 and is 3"):
        check_unfinished(unfinished(tmp_path, epochs=2, small_epochs=0), now)
    with pytest.raises(
        UserError, match=r"unfinished run with small_epochs 2, but small_epochs was taken out in 0\.2\.0"
    ):
        check_unfinished(unfinished(tmp_path, epochs=3, small_epochs=2), now)
    check_unfinished(unfinished(tmp_path, epochs=3, small_epochs=2), now, fresh=True)


def test_the_table_is_light() -> None:
    tree = ast.parse(inspect.getsource(module))
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {str(name).split(".")[0] for name in found} & {"torch", "monai", "ignite", "numpy"}
