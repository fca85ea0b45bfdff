"""One process for each output folder: a second one is refused at once."""

from pathlib import Path

from filelock import FileLock, Timeout

from dynammo.errors import UserError

__all__ = ["lock_folder"]


def lock_folder(folder: Path) -> FileLock:
    """Lock `folder` until `release` is called or the process ends, however it ends.

    Where a network drive knows no locks the folder is used without one, and that is said.

    Raises:
        UserError: another process has it.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"another training writes to {folder} at this moment; wait for its end, or give another --output_dir."
        ) from error
    except OSError as error:
        print(f"{folder} cannot be locked ({error.strerror}); do not start a second training that writes to it.")
    return lock
