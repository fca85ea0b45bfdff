"""Bundles that stand alone, and apps for MONAI Label and MONAI Deploy."""
