"""The reader for MONAI's `LoadImaged`: `reader=ClinicalReader(...)` takes every format of `dynammo.io.image_reader`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.data import ImageReader
from numpy.typing import NDArray

from dynammo.io.image_reader import Frames, Paths, Window, check_choices, image_format, read_image

__all__ = ["ClinicalReader"]


class ClinicalReader(ImageReader):  # type: ignore[misc]  # MONAI is untyped
    """Reads every format of `read_image` and tiles of slides by content, all with one order of axes.

    Arrays are float32, channel first: images (C, H, W) upright, volumes (C, D, H, W); C is 1 or 3. The arguments are
    those of `dynammo.io.image_reader.read_image`; a fragment behind a path (`scan.nii.gz#12`) wins over `frames`.

    Args:
        frames: `all`, `middle`, `maximum` or the number of a frame.
        window: None leaves measured values, `header` and `(low, high)` scale them to 0 .. 255.
        pictures_as_rgb: grey values for the screen get three equal channels.
        colour_profiles: colours with an ICC profile are turned to sRGB.
        smallest: pixels a side from which a large JPEG file is decoded at a smaller scale.

    Raises:
        UserError: an impossible argument.
    """

    def __init__(
        self,
        frames: Frames = "all",
        window: Window = None,
        pictures_as_rgb: bool = False,
        colour_profiles: bool = True,
        smallest: int | None = None,
    ) -> None:
        super().__init__()
        check_choices(frames, window, smallest)
        self.options: dict[str, Any] = {
            "frames": frames, "window": window, "pictures_as_rgb": pictures_as_rgb, "colour_profiles": colour_profiles,
            "smallest": smallest,
        }  # fmt: skip

    def verify_suffix(self, filename: Paths) -> bool:
        """Say by content, not by ending, whether all files are images."""
        paths = [filename] if isinstance(filename, str | Path) else filename
        return all(image_format(path) is not None for path in paths)

    def read(self, data: Paths, **kwargs: Any) -> list[str]:  # noqa: ANN401
        """Note the files: MONAI would hide the sentence of an error raised here, but not of one from `get_data`."""
        return [str(path) for path in ([data] if isinstance(data, str | Path) else data)]

    def get_data(self, img: Sequence[str]) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Read the files that `read` has noted.

        Returns:
            The array, and its meta data: those of `dynammo.io.image_reader.Image`, and MONAI's `original_affine` and
            `space`.

        Raises:
            UserError: see `dynammo.io.image_reader.read_image`.
        """
        image = read_image(img, **self.options)
        of_file = image.meta["affine"] / [*[image.meta["reduced"]] * 2, 1, 1]
        own = {"original_affine": of_file, "space": "RAS"}
        return np.require(image.array, requirements="W"), image.meta | own  # torch may not share read-only memory
