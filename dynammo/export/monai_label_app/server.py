"""The application that uvicorn runs: MONAI Label's, behind a guard; `start.py` sets its limits."""

import json
import os

from lib.torchvision_ops import import_torchvision
from lib.uploads import Guard

import_torchvision()  # before Label does

from monailabel.app import app as label  # noqa: E402

__all__ = ["app"]

app = Guard(
    label,
    megabytes=int(os.environ["DYNAMMO_LABEL_MEGABYTES"]),
    hosts=json.loads(os.environ["DYNAMMO_LABEL_HOSTS"]),
    origins=json.loads(os.environ["DYNAMMO_LABEL_ORIGINS"]),
)
