"""DynaMMo: class-incremental learning of medical images by merging task adapters."""

import logging
import os
import warnings

NOTICE = "Research software. Not a medical device."
"""What every result says of itself; longer sentences begin with it."""

# MLflow reports usage to its makers unless told not to; nothing may leave the machine unasked.
# Set before any import of mlflow; whoever wants telemetry sets the variable to "false".
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

# MONAI warns at every LoadImage that an optional GPU decoder of DICOM is not there
warnings.filterwarnings("ignore", message="NvImgCodecPydicomReader")
# and at DICOM images without a place in the patient, as radiographs and photographs are
warnings.filterwarnings("ignore", message="PydicomReader: ImageOrientationPatient")
logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)

__version__ = "0.2.0"
