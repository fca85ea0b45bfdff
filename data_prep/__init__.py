"""Tools that prepare data for the bundle: `python -m data_prep.NAME` in a checkout.

A wheel carries them as `dynammo.data_prep`: imports in this package are relative, so that both names work.
"""

NAMES = ("image_folder", "dicom_folder", "slides", "isic2019", "path16", "medmnist", "cifar100", "med31")
COMMANDS = {"phantoms": "phantoms.__main__", **{name: name for name in NAMES}}
"""Every command, and the module that has its `app`."""
