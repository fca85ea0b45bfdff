"""DynaMMo: class-incremental learning of medical images by merging task adapters."""

import os

# MLflow reports usage to its makers unless told not to; nothing may leave the machine unasked.
# Set before any import of mlflow; whoever wants telemetry sets the variable to "false".
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

__version__ = "0.1.0"
