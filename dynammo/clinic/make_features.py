"""`dynammo features`: a folder of images becomes a file of embeddings, those that heads of a training would read."""

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dynammo.data.class_folders import class_folders, files_below, read_class_folders, read_undivided
from dynammo.data.data_list import ImageRecord, read_data_list
from dynammo.errors import UserError
from dynammo.networks.imagenet import check_reachable, missing_weights
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.files import prepare_output_dir, write_atomically
from dynammo.runtime.locking import lock_folder
from dynammo.runtime.plain import as_text, expanded, say
from dynammo.training.typed_settings import check_ids, config_ids, find_overlay, weights_of, what_follows

if TYPE_CHECKING:  # torch and MONAI take seconds to import
    from monai.bundle import ConfigParser

    from dynammo.data.exemplars import Item
    from dynammo.networks.merged_classifier import MergedClassifier

__all__ = ["FeatureSettings", "make_features"]

BATCHES = 8  # of a part, which is what a process that ends at once loses
MADE_BY = "made_by"  # array beside the vectors: what made them, as JSON


@dataclass(frozen=True)
class FeatureSettings:
    """Which encoder makes the vectors, and how; see `dynammo features --help`.

    Attributes:
        backbone: a ResNet, or an encoder of others, such as `hf:FOLDER`.
        weights: of the backbone: `imagenet` or a file; None is `own` for an encoder.
        recipe: name of an overlay in `configs/recipes`, or a YAML file.
        values: other settings of train.yaml, by id, such as `image_size`.
        batch_size: images of a pass.
        device: such as cpu or cuda:0; auto for a GPU where there is one.
        skip_unreadable: leave unreadable images out and say so, instead of refusing.
    """

    backbone: str | None = None
    weights: str | None = None
    recipe: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 32
    device: str = "auto"
    skip_unreadable: bool = False


def make_features(source: Path, output: Path, settings: FeatureSettings | None = None) -> Path:
    """Write a vector for each image (slice, tile): its pooled features. Interrupted, the same call resumes.

    Args:
        source: `train/<class>/` and `test/<class>/`, class folders alone, any folder of images, or a data list.
        output: .npz file with `features`, `ids` (paths from the folder on), and `labels`, `groups` and `splits`, ""
            where they are not known. An earlier one of this command is replaced.
        settings: the defaults if left out.

    Returns:
        The file.

    Raises:
        UserError: anything that the user can mend.
    """
    settings = settings or FeatureSettings()
    source, output = expanded(source), expanded(output)
    if output.suffix.lower() != ".npz":
        raise UserError(f"{output} is no .npz file, the one form that is written; give -o vectors.npz.")
    folder, records = _listed(source)
    earlier = _made_by(output)
    config = _config(settings)
    from dynammo.data.feature_files import ENCODER
    from dynammo.data.images import items_of, readable
    from dynammo.data.leaks import refuse_contradictions
    from dynammo.lifecycle.in_process import explained

    refuse_contradictions(records)
    recipe = explained(lambda: config.get_parsed_content("recipe"))
    slices = recipe["spatial_dims"] == 2 and recipe["volumes"] == "slices"
    network, about = explained(lambda: _network(config))
    records = readable(list({record.path: record for record in records}.values()), settings.skip_unreadable, slices)
    records = _grouped(records, folder)
    items = [item for record in records for item in items_of(record, 0)]
    encoder = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    about["key"] = _key(about, items, settings.batch_size)
    if earlier == about["key"]:
        say(f"{output} holds these vectors already.")
        return output
    parts = prepare_output_dir(output.parent) / f".{output.name}.parts"
    parts.mkdir(exist_ok=True)
    lock = lock_folder(parts, "command", "--output")
    try:
        transform = explained(lambda: config.get_parsed_content("preprocessing"))
        vectors = _vectors(network, items, transform, settings.batch_size, parts, about["key"])
        made_by = {MADE_BY: np.array(json.dumps(about, sort_keys=True)), ENCODER: np.array(encoder)}
        arrays = _texts(records, folder) | {"features": vectors, **made_by}
        write_atomically(output, lambda stream: np.savez(stream, **arrays))  # type: ignore[arg-type]
    finally:
        lock.release()
    shutil.rmtree(parts)
    classes = len({record.class_name for record in records} - {""})
    known = f" of {classes} classes" if classes else ", none with a label"
    say(f"{len(vectors)} vectors of {vectors.shape[1]} features{known}: {output}")
    return output


def _listed(source: Path) -> tuple[Path, list[ImageRecord]]:
    """The folder that ids start from, and the images with what folders or a list say of them."""
    if source.is_file():
        return source.parent, read_data_list(source, source.parent)
    if not source.is_dir():
        raise UserError(f"there is no folder {source}; give a folder of images, or a data list.")
    if class_folders(source / "train") and class_folders(source / "test"):
        return source, read_class_folders(source)
    if class_folders(source):
        return source, read_undivided(source)
    records = [ImageRecord(path, "", "") for path in files_below(source)]
    if not records:
        raise UserError(f"the folder {source} holds no image.")
    return source, records


def _made_by(output: Path) -> str:
    """The key of an earlier file of this command; "" where there is none.

    Raises:
        UserError: a file there that something else has made.
    """
    if not output.exists():
        return ""
    try:
        with np.load(output, allow_pickle=False) as arrays:
            return str(json.loads(str(arrays[MADE_BY]))["key"])
    except Exception as error:  # zipfile, NumPy and json raise a dozen kinds for a file that is none of ours
        raise UserError(f"{output} was not made by dynammo features; give -o another file.") from error


def _config(settings: FeatureSettings) -> "ConfigParser":
    """train.yaml under the method `light`, with the backbone of the settings."""
    overlays = [find_overlay("methods", "light")]
    if settings.recipe is not None:
        overlays.append(find_overlay("recipes", settings.recipe))
    files = [bundle_config("train.yaml"), *overlays]
    typed = {"architecture": settings.backbone, "weights": weights_of(settings.weights, settings.backbone)}
    values = {name: value for name, value in typed.items() if value is not None} | dict(settings.values)
    if values.get("weights") == "first_task":
        raise UserError("nothing is trained here; give --weights imagenet or a file.")
    given = {name: value for file in overlays for name, value in config_ids(file).items()}
    known = {**config_ids(files[0]), **given}
    check_ids(settings.values, known)
    shown = {**known, **values}
    to_fetch = missing_weights(shown)
    if to_fetch is not None:
        check_reachable(to_fetch)
    say("importing torch and MONAI ...")
    weights_file, from_encoder = what_follows(shown, {*given, *values}, settings.values)

    from dynammo.lifecycle.in_process import chosen_device, explained
    from dynammo.lifecycle.train import settings_of_encoder
    from dynammo.networks.backbones import stages_in
    from dynammo.runtime.config import config_with

    if from_encoder:
        values |= explained(lambda: settings_of_encoder(files, values, from_encoder))
    if weights_file is not None:
        values["stages"] = stages_in(weights_file)
    return config_with(files, {**values, **chosen_device(settings.device)})


def _network(config: "ConfigParser") -> "tuple[MergedClassifier, dict[str, Any]]":
    """The network without a head, and what a file of its vectors says of it."""
    from dynammo.networks.encoders import digest_of, short_name

    network = config.get_parsed_content("network")
    network.set_branches([network.adapter_state()])
    classifier = network.classifier()
    names = ("image_size", "recipe", "architecture", "stages", "taps", "pool_deviation", "pool_centre", "power")
    about = {name: config.get_parsed_content(name) for name in names}
    about["architecture"] = short_name(about["architecture"])
    return classifier, {**about, "weights": digest_of(classifier)}


def _grouped(records: list[ImageRecord], folder: Path) -> list[ImageRecord]:
    """Records whose group says what belongs together: as listed, else one patient or one file of several views.

    Where the data are divided already, what is known of patients is the list's to say.
    """
    from dynammo.data.splits import with_patients

    if not any(record.split or record.group for record in records):
        found = with_patients(records)
        counts = Counter(record.group for record in found)
        records = [r if counts[r.group] > 1 else replace(r, group="") for r in found]
    return [r if r.group or len(r.views) == 1 else replace(r, group=_name(r.path, folder)) for r in records]


def _name(path: Path, folder: Path) -> str:
    return as_text(path.relative_to(folder).as_posix())


def _texts(records: Sequence[ImageRecord], folder: Path) -> dict[str, NDArray[Any]]:
    rows = [
        (_name(r.path, folder) + as_text(view.removeprefix(str(r.path))), r.class_name, r.group, r.split)
        for r in records
        for view in r.views
    ]
    return {
        name: np.array(column)
        for name, column in zip(("ids", "labels", "groups", "splits"), zip(*rows, strict=True), strict=True)
    }


def _key(about: Mapping[str, Any], items: "Sequence[Item]", batch_size: int) -> str:
    """SHA-256 of the network, of what it is given and how: parts of another are none of ours."""
    files = {item["path"]: Path(item["path"]).stat() for item in items}
    rows = [[i["image"], files[i["path"]].st_size, files[i["path"]].st_mtime_ns] for i in items]
    return hashlib.sha256(json.dumps([about, rows, batch_size], sort_keys=True).encode()).hexdigest()


def _vectors(
    network: "MergedClassifier",
    items: "Sequence[Item]",
    transform: Callable[[Any], Any],
    batch_size: int,
    parts: Path,
    key: str,
) -> NDArray[np.float32]:
    """The vectors of all items; each part is written as soon as it is there, and read where it is."""
    from dynammo.runtime.progress import track

    size = batch_size * BATCHES
    starts = range(0, len(items), size)
    files = [parts / f"{key[:16]}-{start}.npy" for start in starts]
    for stale in {*parts.glob("*.npy")} - {*files}:
        stale.unlink()
    done = sum(file.is_file() for file in files)
    if done:
        say(f"{done} of {len(files)} parts are there already")
    for start, file in track(zip(starts, files, strict=True), "features", len(files)):
        if not file.is_file():
            found = _passed(network, items[start : start + size], transform, batch_size)
            write_atomically(file, lambda stream, found=found: np.save(stream, found))  # type: ignore[misc]
    return np.concatenate([np.load(file, allow_pickle=False) for file in files])


def _passed(
    network: "MergedClassifier", items: "Sequence[Item]", transform: Callable[[Any], Any], batch_size: int
) -> NDArray[np.float32]:
    import torch

    device, rows = next(network.parameters()).device, []
    with torch.no_grad(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(items), batch_size):
            batch = list(items[start : start + batch_size])
            read = [item["image"].as_subclass(torch.Tensor) for item in pool.map(transform, batch)]
            features = network.features(torch.stack(read).to(device))[0].float().cpu()
            bad = (~features.isfinite().all(1)).nonzero().flatten().tolist()
            if bad:
                raise UserError(f"the features of {batch[bad[0]]['image']} are not finite; take that image out.")
            rows.append(features)
    return torch.cat(rows).numpy()
