"""Bytes to arrays and studies: DICOM, NIfTI, pictures, whole slides. No torch; MONAI in `monai_reader` alone."""
