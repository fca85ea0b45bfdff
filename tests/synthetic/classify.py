"""`dynammo classify` as it is typed, and what it leaves."""

import csv
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from dynammo.cli import main
from synthetic.datasets import CLASSES, ROOT, write_image

__all__ = ["end_serving", "end_zip", "images_in_zip", "run", "table"]

Process = subprocess.Popen[str]
BOUNDARY = "boundary"


def run(source: Path, out: Path, model: Path, *options: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(["classify", "-i", str(source), "-o", str(out), "--model", str(model), *options])
    return int(stopped.value.code or 0)


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


def images_in_zip(folder: Path, count: int) -> Path:
    """A zip of so many images."""
    write_image(folder / "image.png", CLASSES[0], 0)
    content = (folder / "image.png").read_bytes()
    with zipfile.ZipFile(folder / "Doe.zip", "w") as archive:
        for i in range(count):
            archive.writestr(f"Doe^Jane {i}.png", content)
    return folder / "Doe.zip"


def end_zip(source: Path, out: Path, model: Path, number: int, seconds: float, *options: str) -> int:
    """Type `dynammo classify`, send it a signal so many seconds after it has unpacked images; its exit status."""
    process = _typed(out.parent, "classify", "-i", str(source), "-o", str(out), "--model", str(model), *options)
    _wait(lambda: any(out.glob(".unpacked.*/*.png")) or process.poll() is not None)
    time.sleep(seconds)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def end_serving(temporary: Path, model: Path, number: int, seconds: float) -> int:
    """Type `dynammo serve`, upload 100 images, send a signal so many seconds after they lie there; its exit status."""
    process = _typed(temporary, "serve", "--model", str(model), "--port", "0", "--no-open")
    assert process.stdout is not None
    port = next(int(found[1]) for line in process.stdout if (found := re.search(r"127\.0\.0\.1:(\d+)", line)))
    threading.Thread(target=_upload, args=(port, temporary), daemon=True).start()
    _wait(lambda: any(path.name.endswith(".png") for path in temporary.rglob("*/files/*")))
    time.sleep(seconds)
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


def _typed(temporary: Path, *words: str) -> Process:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "dynammo", *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL),
    )  # fmt: skip


def _upload(port: int, folder: Path) -> None:
    import http.client

    write_image(folder.parent / "upload.png", CLASSES[0], 0)
    content = (folder.parent / "upload.png").read_bytes()
    head = '--{}\r\nContent-Disposition: form-data; name="files"; filename="Doe^Jane {}.png"\r\n\r\n'
    parts = [head.format(BOUNDARY, i).encode() + content + b"\r\n" for i in range(100)]
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/classify", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
        connection.getresponse().read()
    except (OSError, http.client.HTTPException):
        pass  # it was killed


def _wait(until: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not until():
        assert time.monotonic() < end, "it never came so far"
        time.sleep(0.005)
