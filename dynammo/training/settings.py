"""Every setting of a training, declared once: its default, what values are right, what it means for a model.

Checks, what a record holds, what must agree and what may change are derived from the table; the lines of the configs
and docs/settings.md are written from it by `python -m dynammo.training.write_settings`. Neither torch nor MONAI is
imported.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from dynammo.errors import UserError
from dynammo.runtime.plain import expanded

__all__ = [
    "METHODS", "MISSING", "POOLING", "RECIPE", "RECOMMENDED", "REMOVED", "SECTIONS", "SETTINGS", "Rule", "Setting",
    "recorded_names", "refuse_removed", "updated", "without_unused",
]  # fmt: skip

MISSING: Any = object()


@dataclass(frozen=True)
class Rule:
    """What values of a setting are right.

    Attributes:
        expected: in words.
        allows: whether a value is right; None where what uses the setting finds out, since it knows more.
        choices: whether these words are values to choose from, which a person wants to see beside the setting.
    """

    expected: str
    allows: Callable[[Any], bool] | None = None
    choices: bool = False


@dataclass(frozen=True)
class Setting:
    """A setting of a training.

    Attributes:
        name: as it is typed behind `--`.
        default: as `train.yaml` gives it: a value, or an expression of MONAI.
        rule: what values are right.
        help: one line.
        record: `model`: it is recorded, and a finished model that learns more goes on with it; `run`: it is recorded,
            of this run alone; `no`: it is not recorded.
        part: `recipe` settings are recorded together, under that name; `pooling` ones decide what features are.
        combines: two models are combined only where they agree on it.
        reuses: adapters of an earlier run are reused only where both runs agree on it.
        changes: when an unfinished run is resumed it may differ: `never`, at the start of a `task`, or `always`.
        before: its value in records of versions that did not have it yet.
        recorded: what is recorded of it, where that is not the value itself.
        used: whether it has an effect beside the other settings.
    """

    name: str
    default: Any
    rule: Rule
    help: str
    record: Literal["model", "run", "no"] = "model"
    part: Literal["", "recipe", "pooling"] = ""
    combines: bool = False
    reuses: bool = False
    changes: Literal["never", "task", "always"] = "never"
    before: Any = MISSING
    recorded: str = ""
    used: Callable[[Mapping[str, Any]], bool] = lambda _: True

    def check(self, value: Any) -> None:  # noqa: ANN401
        """Refuse a value that is not right.

        Raises:
            UserError: naming what is.
        """
        if self.rule.allows is not None and not self.rule.allows(value):
            expected = self.rule.expected
            raise UserError(f"{self.name} is {value!r}; expected {expected}: type --{self.name} VALUE.")


def _whole(value: Any, least: int) -> bool:  # noqa: ANN401
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any, above: float) -> bool:  # noqa: ANN401
    return isinstance(value, int | float) and not isinstance(value, bool) and value > above


def _epochs(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, list | tuple) and all(_whole(epoch, 1) for epoch in value)


def _window(value: Any) -> bool:  # noqa: ANN401
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(_number(v, -1e9) for v in value)
    return pair and value[0] < value[1]


def _is_input(value: Any) -> bool:  # noqa: ANN401
    """Whether this can be the path that was meant: MONAI makes `::` of `#`, and a number of 2024."""
    return value is None or _is_output(value) or (isinstance(value, str) and expanded(value).exists())


def _is_output(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, Path) or (isinstance(value, str) and "::" not in value)


def _one_of(*values: Any) -> Rule:  # noqa: ANN401
    return Rule(" or ".join(map(str, values)), lambda value: value in values, choices=True)


def _choice(values: str) -> Rule:
    """Refused by what knows them, in words of its own."""
    return Rule(values, choices=True)


def _with(name: str, value: Any) -> Callable[[Mapping[str, Any]], bool]:  # noqa: ANN401
    return lambda settings: bool(settings[name] == value)


def _fits_adapters(settings: Mapping[str, Any]) -> bool:
    return bool(settings["adapter"] != "none")


def _tunes_heads(settings: Mapping[str, Any]) -> bool:
    return bool(settings["head_layout"] != "analytic")


def _has_stage_1(settings: Mapping[str, Any]) -> bool:
    return _fits_adapters(settings) or _tunes_heads(settings) or settings["weights"] == "first_task"


def _has_stage_2(settings: Mapping[str, Any]) -> bool:
    return _tunes_heads(settings) and settings["head_epochs"] > 0


_is_analytic = _with("head_layout", "analytic")
FROM_1 = Rule("a whole number from 1", lambda value: _whole(value, 1))
FROM_0 = Rule("a whole number from 0", lambda value: _whole(value, 0))
COUNT_OR_NULL = Rule("a whole number from 0, or null", lambda value: value is None or _whole(value, 0))
AMOUNT = Rule("a number from 0", lambda value: _number(value, -1e-30))
RATE = Rule("a number above 0, such as 0.01", lambda value: _number(value, 0))
POWER = Rule("a number above 0, at most 1", lambda value: _number(value, 0) and value <= 1)
EPOCHS = Rule('a list of epochs, such as "[70,130]"', _epochs)
WINDOW = Rule('the lowest and the highest value shown, such as "[-160,240]"', _window)
SWITCH = Rule("True or False", lambda value: value in (True, False))
MIXED = Rule("auto, True or False", lambda value: value in ("auto", True, False), choices=True)
TEXT = Rule("a name")
FOLDER = Rule("a folder (./2024, ./@name, ./%name where it has such a name)", _is_input)
FILE = Rule("a JSON or CSV file, or null", _is_input)
OUTPUT = Rule("a folder (./2024, ./@name, ./%name where it has such a name) without # and ::", _is_output)
COPIES = _one_of("both", "horizontal")
MERGED = Rule("a strategy that merges", lambda value: value != "none")

_recipe = partial(Setting, part="recipe", combines=True, reuses=True)
_pooling = partial(Setting, part="pooling", combines=True)

# fmt: off
SECTIONS: dict[str, tuple[Setting, ...]] = {
    "data and output": (
        Setting("dataset_dir", "data", FOLDER, "folder with train/<class>/* and test/<class>/*", "run"),
        Setting("data_list", None, FILE,
                "instead: a JSON or CSV file with path, label, split and optionally group", "run"),
        Setting("class_file", None, Rule("a JSON, YAML or CSV file, or null", _is_input),
                "full name, code and mark of each class, for reports", "no"),
        Setting("allow_outside", False, SWITCH, "let paths of the data list lead out of dataset_dir", "no"),
        Setting("skip_unreadable", False, SWITCH, "leave unreadable images out instead of refusing", "run"),
        Setting("output_dir", "$'runs/' + @method", OUTPUT, "what the run leaves; made if need be", "no"),
        Setting("fresh", False, SWITCH,
                "start anew where output_dir holds a run, finished or not (it is kept in earlier/)", "no"),
        Setting("resume_changed", False, SWITCH,
                "resume it although epochs, rates, batch size or images have changed", "no"),
        Setting("device", "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
                Rule("a device of torch, such as cpu or cuda:0"), "cpu, cuda:0, ...", "no"),
        Setting("seed", 0, FROM_0, "of everything that is drawn", reuses=True)),
    "images: one recipe for all of them; configs/recipes holds one for each modality": (
        Setting("image_size", 224, FROM_1, "pixels (voxels) on every side", combines=True, reuses=True),
        _recipe("spatial_dims", 2, _one_of(2, 3), "3: volumes as they are, for a network in three dimensions"),
        _recipe("volumes", "middle", _one_of("middle", "maximum", "slices"),
                "what 2-D networks see of a volume; slices: all, averaged", used=_with("spatial_dims", 2)),
        _recipe("crop_borders", False, SWITCH, "cut off black borders"),
        _recipe("stain_normalisation", False, SWITCH, "haematoxylin and eosin to a reference stain (Macenko 2009)"),
        _recipe("colour_constancy", False, SWITCH,
                "same light for every picture (shades of grey, Finlayson 2004)"),
        _recipe("grey", "percentile", _one_of("percentile", "window", "zscore"),
                "how measured values, such as DICOM, become grey"),
        _recipe("window", [-160, 240], WINDOW, "values that `grey: window` shows from black to white",
                used=_with("grey", "window"))),
    "tasks": (
        Setting("increments", 2, Rule('a number, all, or a list such as "[2,2,4]"'),
                "classes of each task: 2, [2, 2, 4], all at once, or the names [[NV, MEL], [BCC]]", "run"),
        Setting("class_order", "sorted", Rule("sorted, random or a list of names"),
                "sorted, random (by seed) or a list of names")),
    "network": (
        Setting("architecture", "resnet18", Rule("resnet18, resnet34, resnet50 or an encoder, such as hf:FOLDER"),
                "backbone: resnet18, resnet34, resnet50, or an encoder (docs/backbones.md)", combines=True,
                reuses=True, recorded="$short_name(@architecture)"),
        Setting("stages", 4, FROM_1, "layers of the ResNet kept, 1 to 4; of an encoder the last map", combines=True,
                reuses=True),
        Setting("weights", "imagenet", Rule("imagenet, own, a file or first_task"),
                "of the backbone: imagenet, a file, or first_task to train it on that; own, of an encoder",
                reuses=True),
        Setting("trust_model", False, SWITCH, "let an encoder run that is a program of others", "no"),
        Setting("adapter", "conv", _choice("conv, low_rank, scale_shift or none"),
                "low_rank, scale_shift: folded into the backbone",
                combines=True, reuses=True),
        _pooling("taps", None, Rule("a list of layers from 0, or null"),
                "layers pooled into features, such as [0, 1, 2, 3], 0 the stem; null: the last"),
        _pooling("pool_deviation", False, SWITCH, "pool the standard deviation beside the mean"),
        _pooling("pool_centre", False, SWITCH, "pool the central half of every map too"),
        _pooling("power", 1.0, POWER, "of every pooled feature; 0.5: square root"),
        _pooling("projection", 0, FROM_0, "outputs of a fixed random layer on the pooled features, 0 for none")),
    "method": (
        Setting("method", "dynammo", TEXT, "its name in run.json and MLflow; configs/methods holds some"),
        Setting("head_layout", "others", _choice("others, softmax or analytic"),
                "a head for each task, one that grows, or one in closed form",
                combines=True, reuses=True),
        Setting("merge_strategy", "average", _choice("average, fisher, ties, latest or none"),
                "how adapters of all tasks become one", combines=True, used=_fits_adapters),
        Setting("merge_batchnorm", "average", _choice("average or recalibrate"),
                "how their BatchNorms do", combines=True, used=_fits_adapters),
        Setting("adapter_tasks", None, COUNT_OR_NULL,
                "tasks that fit adapters, from the first; null: all", used=_fits_adapters),
        Setting("adapters_from", None, Rule("the folder of a run, or null", _is_input),
                "a finished run whose adapters are reused instead, to merge them otherwise", "run",
                used=_fits_adapters),
        Setting("exemplars", 200, Rule("a whole number from 0, or all"),
                "images kept of all known classes together, 0 or all")),
    "stage 1: adapters": (
        Setting("epochs", 200, FROM_0, "of every task", reuses=True, changes="task", used=_has_stage_1),
        Setting("milestones", [70, 130, 170], EPOCHS, "epochs at which the rate falls to a tenth",
                reuses=True, changes="task", used=_has_stage_1),
        Setting("mixed_precision", "auto", MIXED,
                "convolutions in bfloat16; auto: on GPUs that have it",
                reuses=True, before=False, recorded="$wants_mixed_precision(@mixed_precision, @device)",
                used=_has_stage_1),
        Setting("learning_rate", 0.01, RATE, "at the start", reuses=True, changes="task", used=_has_stage_1),
        Setting("weight_decay", 0.0005, AMOUNT, "of all that is fitted", reuses=True, changes="task",
                used=_has_stage_1),
        Setting("batch_size", 32, FROM_1, "images a step", reuses=True, changes="task"),
        Setting("distillation", 0.0, AMOUNT, "weight of the old outputs as targets (head_layout: softmax)",
                before=0.0, used=_with("head_layout", "softmax")),
        Setting("workers", 0, FROM_0, "processes that load images", "run", changes="task", used=_has_stage_1),
        Setting("cache_images", 4000, FROM_0, "images kept preprocessed in memory", "run", changes="always"),
        Setting("cache_dir", None, Rule("a folder, or null", _is_input),
                "a folder that keeps them from run to run (pixels: as private as the images)",
                "run", changes="always")),
    "stage 2: heads": (
        Setting("head_epochs", 100, FROM_0, "0: heads stay as stage 1 fitted them", changes="task", used=_tunes_heads),
        Setting("head_milestones", [55, 80], EPOCHS, "epochs at which the rate falls to a tenth", changes="task",
                used=_has_stage_2),
        Setting("head_learning_rate", 0.001, RATE, "at the start", changes="task", used=_has_stage_2),
        Setting("head_refit", False, SWITCH,
                "fit the newest head to the merged adapters first, on all images of stage 1", before=False,
                used=_with("head_layout", "others")),
        Setting("head_images", "balanced", _choice("balanced or all"),
                "exemplars of every class; all: and all images of the new ones", before="balanced", used=_has_stage_2),
        Setting("head_copies", 0, FROM_0, "augmented copies of every image beside the image itself", changes="task",
                used=_has_stage_2)),
    "analytic heads (head_layout: analytic)": (
        Setting("analytic_head", "lda", _choice("lda or ridge"), "kind of head", combines=True, used=_is_analytic),
        Setting("balanced", True, SWITCH, "every class weighs the same", combines=True, used=_is_analytic),
        Setting("shrinkage", "auto", Rule("auto or a number between 0 and 1"),
                "of the covariance; auto, or a number between 0 and 1", combines=True, used=_is_analytic),
        Setting("mirrored", "none", _choice("none, horizontal or both"),
                "copies of every image in the statistics", combines=True, used=_is_analytic),
        Setting("photometric", 0, FROM_0, "copies beside them, as other cameras would have taken the image",
                combines=True, before=0, used=_is_analytic),
        Setting("class_statistics", True, SWITCH,
                "kept for each class too (tasks/), so that it can be forgotten or get more images", used=_is_analytic)),
    "MLflow: MLFLOW_TRACKING_URI wins; without it mlruns.db beside output_dir, in its parent": (
        Setting("mlflow", True, SWITCH, "record the run", "no"),
        Setting("experiment", "dynammo", TEXT, "under which runs are found", "no"),
        Setting("registered_model", "dynammo", TEXT, "of which every task is a version", "no")),
}
# fmt: on
SETTINGS = {setting.name: setting for section in SECTIONS.values() for setting in section}
RECIPE = tuple(setting.name for setting in SETTINGS.values() if setting.part == "recipe")
POOLING = tuple(setting.name for setting in SETTINGS.values() if setting.part == "pooling")
METHODS: dict[str, dict[str, Rule]] = {
    "acl": {"head_layout": _one_of("others"), "merge_strategy": _one_of("none")},
    "analytic": {"head_layout": _one_of("analytic"), "analytic_head": _one_of("lda"), "mirrored": COPIES},
    "dynammo": {"head_layout": _one_of("others"), "merge_strategy": MERGED, "head_refit": _one_of(False)},
    "dynammo_refit": {"head_layout": _one_of("others"), "merge_strategy": MERGED, "head_refit": _one_of(True)},
    "finetune": {"head_layout": _one_of("softmax"), "exemplars": _one_of(0), "distillation": _one_of(0)},
    "joint": {"head_layout": _one_of("softmax"), "exemplars": _one_of("all")},
    "light": {"head_layout": _one_of("analytic"), "analytic_head": _one_of("lda"), "mirrored": _one_of("none")},
    "lwf": {"head_layout": _one_of("softmax"), "distillation": RATE},
}
"""Names of the overlays in configs/methods, and the settings without which each would be another method."""
RECOMMENDED = "analytic"
"""The method that `dynammo train` takes where none is named: of the highest recall on all sets, and no image kept."""
REMOVED = {
    "small_epochs": "was taken out in 0.2.0: smaller images in the first epochs cost 3.5 points of mean class recall"
}
"""Settings of earlier versions, and why they are gone. They concerned training alone: what it left is good as it is."""
MOVED = ("grey_scalers", "loading", "preparation", "stain_normaliser")  # ids of train.yaml and inference.yaml in 0.1


def recorded_names(which: Callable[[Setting], bool]) -> tuple[str, ...]:
    """Names under which some settings are recorded, in the order of the table; `recipe` for all of its parts."""
    return tuple({s.part if s.part == "recipe" else s.name: None for s in SETTINGS.values() if which(s)})


def updated(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that an earlier version recorded, as this one would: with what came later, without what was removed."""
    later = {s.name: s.before for s in SETTINGS.values() if s.before is not MISSING}
    return {**later, **{name: value for name, value in recorded.items() if name not in REMOVED}}


def without_unused(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded settings without those that have no effect beside the others, such as those of another kind of head."""

    def is_used(name: str) -> bool:
        try:
            return name not in SETTINGS or SETTINGS[name].used(every)
        except KeyError:  # what would decide is not recorded
            return True

    recipe = settings.get("recipe", {})
    every = {**settings, **recipe}
    left = {name: value for name, value in settings.items() if is_used(name)}
    return {**left, "recipe": {name: recipe[name] for name in recipe if is_used(name)}} if recipe else left


def refuse_removed(given: Iterable[str]) -> None:
    """Refuse names that earlier versions had, on a command line or in a config, where nothing would heed them.

    Raises:
        UserError: saying why it is gone.
    """
    for name in sorted(REMOVED.keys() & set(given)):
        raise UserError(f"{name} {REMOVED[name]}; leave it out.")
    for name in sorted({*MOVED} & set(given)):
        raise UserError(
            f"{name} is no id of this config since 0.2.0: how images are read and prepared stands in "
            "preprocessing.yaml (dynammo config preprocessing); to prepare them otherwise, give the id preprocessing "
            "as a whole."
        )
