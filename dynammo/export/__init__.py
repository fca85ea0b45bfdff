"""Bundles that stand alone, and apps for MONAI Label and MONAI Deploy."""

from typing import Any

from dynammo.runtime.faces import look_up

FACE = {
    "ExportSettings": "export_run",
    "write_deploy_app": "monai_deploy",
    "write_label_app": "monai_label",
}
__all__ = list(FACE)


def __getattr__(name: str) -> Any:  # noqa: ANN401
    return look_up(__name__, FACE, name)
