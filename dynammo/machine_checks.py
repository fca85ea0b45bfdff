"""The machine: what PyTorch computes on, disk, memory, variables of the environment."""

import os
import shutil
import tempfile
from pathlib import Path

from dynammo.installation import Check

__all__ = ["check_disk", "check_memory", "check_torch", "check_variables"]

LEAST_DISK = 200e6  # bytes: results of some thousand images
LEAST_MEMORY = 2e9  # bytes: the network, MONAI and a batch
CONTROL_GROUP = Path("/sys/fs/cgroup/memory.max")  # what a container may use, of Linux
VARIABLES = (
    "CUDA_VISIBLE_DEVICES",
    "MLFLOW_DISABLE_TELEMETRY",
    "MLFLOW_TRACKING_URI",
    "OMP_NUM_THREADS",
    "TORCH_HOME",
)


def check_torch() -> Check:
    """Whether PyTorch can be imported, and what it computes on."""
    try:
        import torch
    except (ImportError, OSError) as error:  # a library of it that does not fit the machine
        reason = type(error).__name__
        return Check(
            "computes on", "fails", f"PyTorch cannot be imported ({reason}): pip install --force-reinstall torch"
        )
    threads = torch.get_num_threads()
    processor = f"{threads} {'thread' if threads == 1 else 'threads'} of the processor"
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 2**30
        return Check("computes on", "ok", f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    if torch.version.cuda:
        return Check("computes on", "missing", f"{processor}; no GPU is found, see whether nvidia-smi finds one")
    return Check("computes on", "ok", f"{processor}; this PyTorch is made for processors alone")


def check_disk() -> Check:
    """Whether results can be written into the working directory."""
    try:
        with tempfile.TemporaryFile(dir="."):
            pass
        free = shutil.disk_usage(".").free
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return Check("working folder", "fails", f"cannot be written ({reason}): cd to a folder of yours")
    if free < LEAST_DISK:
        return Check(
            "working folder", "fails", f"only {free / 1e6:.0f} MB are free: delete files or cd to another disk"
        )
    return Check("working folder", "ok", f"can be written, {free / 1e9:.0f} GB free")


def check_memory() -> Check:
    """Cores and memory that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    words = f"{cores} {'core' if cores == 1 else 'cores'}"
    memory = _memory()
    if memory is None:
        return Check("machine", "ok", words)
    detail = f"{words}, {memory / 2**30:.1f} GiB memory"
    if memory < LEAST_MEMORY:
        return Check("machine", "missing", f"{detail}: too little for large images, type --batch-size 1 --workers 0")
    return Check("machine", "ok", detail)


def check_variables() -> Check:
    """Variables of the environment that matter, by name alone."""
    ours = {name for name in os.environ if name.startswith("DYNAMMO_")}
    names = sorted(ours | {name for name in VARIABLES if os.environ.get(name)})
    telemetry = os.environ.get("MLFLOW_DISABLE_TELEMETRY", "").lower() not in ("true", "1")
    note = "; MLflow reports usage to its makers, unset MLFLOW_DISABLE_TELEMETRY to stop that" if telemetry else ""
    return Check("variables set", "ok", (", ".join(names) or "none") + note)


def _memory() -> float | None:
    """Bytes of memory that this process may use; None where the system does not tell."""
    try:
        memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # Windows
        return None
    try:
        return min(memory, float(CONTROL_GROUP.read_text()))  # "max" where there is no limit
    except (OSError, ValueError):
        return memory
