"""One process for each output folder: a second one is refused at once, whatever either of them does there."""

from pathlib import Path

from filelock import FileLock, Timeout

from dynammo.errors import UserError
from dynammo.runtime.plain import say

__all__ = ["lock_folder"]


def lock_folder(folder: Path, work: str = "training", option: str = "--output_dir") -> FileLock:
    """Lock `folder` until `release` is called or the process ends, however it ends.

    Where a network drive knows no locks the folder is used without one, and that is said.

    Args:
        folder: existing one.
        work: what writes there, for the message.
        option: where another folder would be given.

    Raises:
        UserError: another process has it.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(
            f"another {work} writes to {folder} at this moment; wait for its end, or give another {option}."
        ) from error
    except OSError as error:
        say(f"{folder} cannot be locked ({error.strerror}); do not start a second {work} that writes to it.")
    return lock
