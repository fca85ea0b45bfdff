"""Files, processes and devices: what everything stands on."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "bundle_config": "bundle_files",
    "init_processes": "distributed",
    "is_first": "distributed",
    "prepare_output_dir": "files",
    "rank_device": "distributed",
    "shipped_config": "bundle_files",
    "shipped_configs": "bundle_files",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
