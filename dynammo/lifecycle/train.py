"""`dynammo train`: a folder of images in, a complete run out, through the configs of the bundle."""

import hashlib
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dynammo.errors import UserError
from dynammo.lifecycle.training_plan import TrainingPlan, TrainSettings, make_plan
from dynammo.networks.imagenet import check_reachable
from dynammo.runtime.plain import say

__all__ = ["settings_of_encoder", "train", "train_methods"]

TEST_SHARE = 0.2
MOST_FEATURES = 4096  # an analytic head keeps a matrix of their square


def train(data: Path, output: Path | None = None, settings: TrainSettings | None = None, dry_run: bool = False) -> Path:
    """Learn the classes of a folder task by task; interrupted, the same call resumes.

    Args:
        data: `train/<class>/` and `test/<class>/`; class folders alone, of whose images a fifth is split off for
            testing, patients apart, and recorded in the run; or a data list.
        output: folder of the run; None for one below `runs/`, named after data and method.
        settings: the defaults if left out.
        dry_run: say what would be done and do nothing.

    Returns:
        The folder of the run.

    Raises:
        UserError: anything that the user can mend.
    """
    plan = make_plan(data, output, settings or TrainSettings())
    for line in plan.lines:
        say(line)
    if dry_run:
        say(f"nothing was done; without --dry-run the run goes to {plan.output}")
        return plan.output
    if plan.to_fetch is not None:
        check_reachable(plan.to_fetch)
    say("importing torch and MONAI ...")
    _learn(plan)
    what = "--features FILE" if "features" in plan.values else "-i FOLDER"
    say(f"classify with it: dynammo classify {what} -o results -m {shlex.quote(str(plan.output))}")
    return plan.output


def train_methods(data: Path, methods: Sequence[str], output: Path, settings: TrainSettings) -> list[Path]:
    """Learn the same data by several methods, into a folder for each; what is there and finished is taken as it is.

    Args:
        data: as `train` takes it.
        methods: names of overlays in `configs/methods`, or YAML files.
        output: folder of the folders.
        settings: of all of them, but for the method.

    Returns:
        The folders of the runs.

    Raises:
        UserError: anything that the user can mend; before anything is trained where it can be known.
    """
    if len(set(methods)) < 2:
        raise UserError(
            f"{', '.join(methods)} is one method; to compare, give at least two: --methods finetune,analytic."
        )
    plans = [
        make_plan(data, output / Path(method).stem, replace(settings, method=method))
        for method in dict.fromkeys(methods)
    ]
    for architecture in {plan.to_fetch for plan in plans if plan.to_fetch is not None}:
        check_reachable(architecture)
    for plan in plans:
        for line in plan.lines:
            say(line)
        _learn(plan)
    return [plan.output for plan in plans]


def _learn(plan: TrainingPlan) -> None:
    from dynammo.lifecycle.in_process import chosen_device, explained, prepared_bundle
    from dynammo.networks.backbones import stages_in

    values: dict[str, Any] = {**plan.values, "output_dir": str(plan.output), **chosen_device(plan.device)}
    if plan.weights_file is not None:
        values["stages"] = stages_in(plan.weights_file)
    if plan.from_encoder:
        values |= explained(lambda: settings_of_encoder(plan.files, values, plan.from_encoder))
    if plan.undivided:
        values["data_list"] = str(_write_split(plan, values.get("seed", 0)))
    try:
        bundle = prepared_bundle(plan.files, values)
    except SystemExit:  # the run is there already, which was said
        return
    explained(lambda: bundle.get_parsed_content("network"))  # its weights may be missing: said before images are read
    explained(lambda: bundle.get_parsed_content("incremental#trainer").learn())


def settings_of_encoder(files: Sequence[Path], values: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Any]:
    """The size that an encoder was trained with, and its last maps, as many as make no more than `MOST_FEATURES`.

    Args:
        files: configs, the later over the earlier.
        values: by id, over these.
        wanted: of `image_size`, `stages` and `taps`, those that follow from the encoder.
    """
    from dynammo.networks.encoder_sources import open_encoder
    from dynammo.runtime.config import config_with

    config = config_with(files, values)
    names = ("architecture", "weights", "spatial_dims", "image_size", "pool_deviation", "pool_centre")
    name, weights, dimensions, size, *moments = (config.get_parsed_content(setting) for setting in names)
    encoder = open_encoder(name, weights, None if "image_size" in wanted else size, dimensions)
    taps: list[int] = []
    features = 0
    for tap in reversed(range(len(encoder.channels))):
        features += encoder.channels[tap] * (1 if tap in encoder.about["points"] else 2 ** sum(map(bool, moments)))
        if taps and features > MOST_FEATURES:
            break
        taps.insert(0, tap)
    found = {"stages": len(encoder.channels) - 1, "taps": taps, "image_size": encoder.about["seen"]}
    chosen = {setting: found[setting] for setting in sorted(wanted)}
    say(f"{name}: {', '.join(f'{setting} {value}' for setting, value in chosen.items())}")
    return chosen


def _write_split(plan: TrainingPlan, seed: int) -> Path:
    """The data list of a split; its name says what it holds, so that another split is another setting of the run."""
    from dynammo.data.splits import as_data_list, divided, with_patients
    from dynammo.runtime.files import prepare_output_dir, write_atomically

    listed = as_data_list(divided(with_patients(plan.records), TEST_SHARE, seed), plan.folder)
    file = prepare_output_dir(plan.output) / f"split-{hashlib.sha256(listed).hexdigest()[:8]}.json"
    write_atomically(file, lambda stream: stream.write(listed))
    return file
