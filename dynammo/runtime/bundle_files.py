"""Where `bundle/`, `configs/` and `data_prep/` lie: beside the package in a checkout, inside it in a wheel."""

from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from dynammo.errors import UserError

__all__ = ["bundle_config", "checkout", "shipped_config", "shipped_configs"]

PACKAGE = Path(__file__).resolve().parents[1]
REMOVED = {"ridge": "was taken out in 0.2.0, since light keeps as little and is about as good or better; type light."}
GROUPS = ("methods", "recipes", "datasets")  # of overlays; configs/benchmark.yaml is read by benchmarks alone


def checkout() -> Path | None:
    """The checkout that the package runs from; None where a wheel is installed."""
    return None if (PACKAGE / "bundle").is_dir() else PACKAGE.parent


def bundle_config(name: str) -> Path:
    """Path of the file `name` of `bundle/configs`, such as `inference.yaml`.

    Raises:
        UserError: it is not there; the installation lacks files.
    """
    file = (checkout() or PACKAGE) / "bundle" / "configs" / name
    if not file.is_file():
        raise UserError(
            f"the bundle's file configs/{name} is neither in the package nor beside it; install dynammo anew: "
            "pip install --force-reinstall --no-deps and the wheel or the folder it came from."
        )
    return file


def shipped_configs() -> dict[str, Path]:
    """Every config that is shipped, by name: `bundle/train`, `methods/analytic`, `recipes/xray`, `multi_gpu` ..."""
    configs = (checkout() or PACKAGE) / "configs"
    bundle = bundle_config("train.yaml").parent
    found = {f"bundle/{file.stem}": file for file in sorted(bundle.glob("*.yaml"))}
    for group in GROUPS:
        found |= {f"{group}/{file.stem}": file for file in sorted((configs / group).glob("*.yaml"))}
    return found | {"multi_gpu": configs / "multi_gpu.yaml"}


def shipped_config(name: str) -> Path:
    """Path of one of `shipped_configs`.

    Args:
        name: with its group or without it, with its ending or without it: `methods/analytic`, `analytic`, `train.yaml`;
            or its path in a checkout, as documents write it: `configs/methods/analytic.yaml`.

    Raises:
        UserError: there is none of that name, or more than one.
    """
    found = shipped_configs()
    if PurePosixPath(name).stem in REMOVED:
        raise UserError(f"there is no config {name!r}; it {REMOVED[PurePosixPath(name).stem]}")
    parts = [part for part in PurePosixPath(name.removesuffix(".yaml")).parts if part != "configs"]
    wanted = "/".join(parts)
    named = [key for key in found if key == wanted] or [key for key in found if key.endswith(f"/{wanted}")]
    if len(named) == 1:
        return found[named[0]]
    if named:
        raise UserError(f"there are {len(named)} configs {name!r}; type {' or '.join(named)}.")
    group, _, last = wanted.rpartition("/")
    likely = {key.rpartition("/")[2]: key for key in found if key.startswith(f"{group}/")}
    likely = likely or {key.rpartition("/")[2]: key for key in found}
    close = [likely[match] for match in get_close_matches(last.lower(), likely, n=3)]
    expected = f"did you mean {' or '.join(close)}?" if close else f"expected one of {', '.join(likely.values())}."
    raise UserError(f"there is no config {name!r}; {expected}")
