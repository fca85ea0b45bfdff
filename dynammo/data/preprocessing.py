"""The transforms of a config: those of the bundle's inference workflow with the recipe of a run, or an export's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from monai.transforms import Compose

from dynammo.runtime.bundle_files import bundle_config

__all__ = ["exported_preprocessing", "preprocessing_of"]


def preprocessing_of(record: Mapping[str, Any]) -> Compose:
    """The preprocessing of the bundle's inference workflow with the recipe of a run (`run.json`)."""
    return _parsed(bundle_config("inference.yaml"), record=dict(record))


def exported_preprocessing(bundle: Path) -> Compose:
    """The preprocessing of an exported bundle, which needs MONAI alone."""
    return _parsed(bundle / "configs" / "inference.yaml")


def _parsed(config: Path, **values: Any) -> Compose:  # noqa: ANN401
    parser = ConfigParser()
    parser.read_config(ConfigParser.load_config_files([str(config)]))
    parser.update(values)
    return parser.get_parsed_content("preprocessing")
