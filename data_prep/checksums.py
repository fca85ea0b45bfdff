"""Sums that the authors of a data set published, compared with those of the download."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dynammo.errors import UserError

__all__ = ["md5_of", "refuse_other_sum"]


def md5_of(file: Path) -> str:
    """MD5 of a file, the sum that older data sets publish."""
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def refuse_other_sum(file: Path, published: str, url: str) -> str:
    """Compare the MD5 of a file with the published one.

    Returns:
        The sum.

    Raises:
        UserError: another sum.
    """
    found = md5_of(file)
    if found != published:
        raise UserError(
            f"{file} has the MD5 sum {found}, but {published} is published: download it again at {url}, or type "
            "--unchecked to take it as it is."
        )
    return found
