"""The configs of an exported bundle: the training bundle's inference, with MONAI's readers and without dynammo."""

import json
import re
from importlib.resources import files
from typing import Any

from monai.bundle import ConfigParser

from dynammo.runs.record import Record
from dynammo.runtime.bundle_files import bundle_config
from dynammo.training.settings import RECIPE

__all__ = ["standalone_evaluation", "standalone_inference"]

TEMPLATES = files("dynammo.export") / "bundle_templates"
PARTS = ("inference.yaml", "loading.yaml")  # of the templates
SHARED = ("preprocessing.yaml", "inference.yaml")  # of the training bundle
BLOCK = re.compile(r"^(?=(?:#|[\w]+:))", re.MULTILINE)  # a comment at the margin belongs to the key below it
STEP = re.compile(r"(?:^    #.*\n)*^    - _target_.*\n(?:^      .*\n)*", re.MULTILINE)  # with the comments above it
SWITCH = re.compile(r'^      _disabled_: "(.*)"\n', re.MULTILINE)
SCALER = re.compile(r"^  (\w+):.*\n(?:^    .*\n)*", re.MULTILINE)
GONE = ("", "imports", "record", "recipe", "model", "model_dir", "skip_unreadable")  # what serves the record of a run
OPTIONAL = "stain_normaliser"  # beside the recipe, all that only some steps refer to
FIRST = ("bundle_root", "dataset_dir", "output_dir", "suffixes", "batch_size", "workers", "device")
HEAD = """# Classify every image below a folder with MONAI and torch alone:
# python -m monai.bundle run inference --config_file configs/inference.yaml --dataset_dir FOLDER --output_dir OUT
"""


def standalone_inference(record: Record) -> str:
    """YAML text of `inference.yaml`; its ids need MONAI and torch alone.

    What prepares images is the training bundle's `preprocessing.yaml`, word for word, without the steps that the recipe
    of the run switches off and what only these refer to; what
    reads them is `bundle_templates/loading.yaml`, which gives the same arrays as dynammo's reader (tests) for all but
    palettes, films that know their place, and TIFFs of several pages.

    Names of classes stand in `models/run.json` alone, which it reads as data: MONAI would evaluate them here.

    Args:
        record: `run.json` of the run.
    """
    template, loading = (_blocks((TEMPLATES / name).read_text(encoding="utf-8")) for name in PARTS)
    prepared, inference = (_blocks(bundle_config(name).read_text(encoding="utf-8")) for name in SHARED)
    own = {**template, **loading}
    blocks = {**own, **prepared, **inference, **prepared, **own}  # in this order; what comes later wins
    known = dict(record["config"]["recipe"])
    recipe = {name: known[name] for name in RECIPE}
    learnt = {"image_size": record["config"]["image_size"], **recipe}
    blocks = _as_used(blocks, learnt)
    whole = "".join(text for name, text in blocks.items() if name not in (*learnt, *GONE))
    used = {name for name in (*learnt, OPTIONAL) if re.search(rf"@{name}\b", whole)}
    values = [f"{name}: {json.dumps(learnt[name], ensure_ascii=False)}\n" for name in learnt if name in used]
    gone = {*FIRST, *learnt, *GONE, OPTIONAL} - ({OPTIONAL} & used)
    rest = [text for name, text in blocks.items() if name not in gone]
    imports, first = blocks["imports"], [blocks[name] for name in FIRST]
    trained = f"# what the model was trained with\n{''.join(values)}"
    return "\n".join(part.strip("\n") + "\n" for part in (HEAD + imports, "".join(first), trained, *rest))


def standalone_evaluation() -> str:
    """YAML text of `evaluate.yaml`, an overlay that measures the model on class folders."""
    return (TEMPLATES / "evaluate.yaml").read_text(encoding="utf-8")


def _as_used(blocks: dict[str, str], learnt: dict[str, Any]) -> dict[str, str]:
    """The blocks without the steps that are switched off, and without the switches."""

    def step(found: re.Match[str]) -> str:
        switch = SWITCH.search(found[0])
        if switch and ConfigParser({**learnt, "off": switch[1]}).get_parsed_content("off"):
            return ""
        return SWITCH.sub("", found[0])

    left = {name: STEP.sub(step, text) for name, text in blocks.items()}
    scalers = SCALER.sub(lambda found: found[0] if found[1] == learnt["grey"] else "", left["grey_scalers"])
    return left | {"grey_scalers": scalers}


def _blocks(text: str) -> dict[str, str]:
    """The top-level entries of a YAML file by key, each with the comments above it; the first line goes."""
    blocks, comment = {}, ""
    for part in BLOCK.split(text.split("\n", 1)[1]):
        if part.startswith("#"):
            comment += part
        else:
            blocks[part.split(":")[0].strip()] = comment + part
            comment = ""
    return blocks
