"""What turns a path into the network's input: by the bundle's `preprocessing.yaml`, or by an export's own config."""

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.transforms import Compose

from dynammo.data.exemplars import Item
from dynammo.runtime.bundle_files import bundle_config
from dynammo.runtime.config import config_with
from dynammo.runtime.files import prepare_output_dir

__all__ = ["cached_dataset", "exported_preprocessing", "make_preprocessing", "preprocessing_of"]

# MONAI warns at every LoadImage that an optional GPU decoder of DICOM is not there
warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
# and at DICOM images without a place in the patient, as radiographs and photographs are
warnings.filterwarnings("ignore", message="PydicomReader: ImageOrientationPatient")
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)

IDS = (  # of a recipe, that preprocessing.yaml refers to; what else a record calls a recipe is no id of ours
    "spatial_dims", "volumes", "crop_borders", "stain_normalisation", "colour_constancy", "grey", "window",
)  # fmt: skip


def make_preprocessing(image_size: int, recipe: Mapping[str, Any]) -> Compose:
    """Reading and preparation, the same for training and prediction.

    Args:
        image_size: pixels (voxels) on every side of what comes out.
        recipe: `spatial_dims`, `volumes` and the other settings of a recipe; what else it holds is left out.

    Returns:
        From items with `image`, a path, to items with `image`, float32 (3, S, S) or (3, S, S, S).
    """
    known = {name: recipe[name] for name in IDS}
    parser = config_with([bundle_config("preprocessing.yaml")], {"image_size": image_size, **known})
    return parser.get_parsed_content("preprocessing")


def preprocessing_of(record: Mapping[str, Any]) -> Compose:
    """The preprocessing with the recipe of a run (`run.json`)."""
    return make_preprocessing(record["config"]["image_size"], record["config"]["recipe"])


def exported_preprocessing(bundle: Path) -> Compose:
    """The preprocessing of an exported bundle, which needs MONAI alone."""
    return config_with([bundle / "configs" / "inference.yaml"], {}).get_parsed_content("preprocessing")


class _KeptDataset(PersistentDataset):  # type: ignore[misc]  # MONAI is untyped
    """A `PersistentDataset` that keeps its files when its items change: every task brings other items."""

    def set_data(self, data: list[Item]) -> None:
        """Take other items; MONAI's own method would delete the folder."""
        self.data = data


def cached_dataset(
    data: list[Item],
    transform: Callable[[Item], Item],
    recipe: Mapping[str, Any],
    cache_images: int = 0,
    cache_dir: str | Path | None = None,
) -> Dataset:
    """A dataset whose deterministic transforms run once for each image; MONAI draws the line at the first random one.

    Args:
        data: items with `image` (path).
        transform: MONAI `Compose`.
        recipe: settings that decide what the deterministic transforms do: the key of the files in `cache_dir`,
            with the path, size and times of change of the image.
        cache_images: images kept in memory, where there is no `cache_dir`; filled in parallel.
        cache_dir: folder that keeps preprocessed images from run to run, several processes may share it. They are
            pixels of patients: protect it as the images themselves.

    Raises:
        UserError: `cache_dir` cannot be written.
    """
    if cache_dir is None:
        return CacheDataset(data, transform, cache_num=cache_images, num_workers=os.cpu_count(), progress=False)
    key = json.dumps(dict(recipe), sort_keys=True)
    return _KeptDataset(data, transform, prepare_output_dir(cache_dir), hash_func=lambda item: _digest(item, key))


def _digest(item: Item, recipe: str) -> bytes:
    file = Path(str(item["path"]))
    state = file.stat()
    times = [state.st_mtime_ns, state.st_ctime_ns]  # nobody sets back the second
    text = json.dumps([recipe, file.resolve().as_posix(), state.st_size, *times, item], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest().encode()
