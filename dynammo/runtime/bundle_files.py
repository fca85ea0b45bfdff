"""Where the configs of the bundle lie: beside the package in a checkout, in `share/` where a wheel is installed."""

import site
import sys
from pathlib import Path

from dynammo.errors import UserError

__all__ = ["bundle_config", "shipped_config"]

SHARE = Path("share", "dynammo", "bundle", "configs")  # as [tool.setuptools.data-files] installs them


def bundle_config(name: str) -> Path:
    """Path of the file `name` of `bundle/configs`, such as `inference.yaml`.

    Raises:
        UserError: it is nowhere; the installation lacks its data files.
    """
    beside = Path(__file__).resolve().parents[2]
    # the environment; `pip install --user`; `pip install --target`
    installed = (Path(sys.prefix), Path(site.getuserbase()), beside)
    for file in (beside / "bundle" / "configs" / name, *(place / SHARE / name for place in installed)):
        if file.is_file():
            return file
    raise UserError(
        f"the bundle's file configs/{name} is neither beside the package nor in {SHARE.as_posix()} of this Python; "
        "install dynammo anew: pip install --force-reinstall --no-deps and the wheel or the folder it came from."
    )


def shipped_config(name: str) -> Path:
    file = Path(__file__).resolve().parents[2] / "configs" / f"{name}.yaml"
    if not file.is_file():
        raise UserError(f"there is no config {name}.")
    return file
