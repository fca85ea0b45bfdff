"""The bundle's configs run inside this process, with values that others gave."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser

from dynammo.errors import UserError
from dynammo.runtime.config import config_with
from dynammo.training.settings import refuse_removed

__all__ = ["chosen_device", "explained", "prepared_bundle"]


def prepared_bundle(
    files: Sequence[Path], values: Mapping[str, Any], ours: Mapping[str, str] | None = None
) -> ConfigParser:
    """Configs, the later over the earlier, with these values, checked and ready.

    Args:
        files: configs.
        values: by id, never evaluated.
        ours: config text of our own, by id.

    Raises:
        UserError: what the checks of the configs refuse.
    """
    parser = config_with(files, values)
    refuse_removed(parser.config)
    parser.update(dict(ours or {}))
    explained(lambda: parser.get_parsed_content("initialize"))
    return parser


def explained(act: Callable[[], Any]) -> Any:  # noqa: ANN401
    """The result of `act`; a mistake of the user comes out of what MONAI wraps it in."""
    try:
        return act()
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, UserError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise cause from error
        raise


def chosen_device(name: str) -> dict[str, torch.device]:
    """The value of the id `device`; none for `auto`, which the config decides.

    Raises:
        UserError: no such kind of device.
    """
    try:
        return {} if name == "auto" else {"device": torch.device(name)}
    except RuntimeError as error:
        raise UserError(f"there is no device {name!r}; give --device auto, cpu or cuda:0.") from error
