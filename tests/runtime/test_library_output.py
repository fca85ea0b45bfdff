"""What C libraries print goes to the file that it is about, and nobody else's words are lost."""

import os
import subprocess
import sys
import threading

import pytest

from dynammo.runtime.library_output import caught_output


def test_lines_are_caught_and_what_is_no_plain_text_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with caught_output() as lines:
        os.write(2, b"Corrupt data\n \nby 3 bytes\n")
        os.write(2, "\x1b[2K reading ━━ 3/9\n".encode())
    assert lines == ["Corrupt data", "by 3 bytes"]
    with caught_output() as lines:
        pass
    os.write(2, b"after\n")
    assert lines == [] and capfd.readouterr().err == "\x1b[2K reading ━━ 3/9\nafter\n"


def test_an_exception_ends_it_too(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError), caught_output() as lines:
        os.write(2, b"fatal\n")
        raise ValueError
    os.write(2, b"after\n")
    assert lines == ["fatal"] and capfd.readouterr().err == "after\n"


def test_threads_hear_their_own_lines() -> None:
    heard: dict[int, list[str]] = {}

    def work(number: int) -> None:
        with caught_output() as lines:
            os.write(2, f"{number}\n".encode())
        heard[number] = lines

    threads = [threading.Thread(target=work, args=(k,)) for k in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert heard == {k: [str(k)] for k in range(20)}


CLOSED = """
import os
from dynammo.runtime.library_output import caught_output
os.close(2)
with caught_output() as lines:
    pass
print(lines)
"""
FORKED = """
import os, threading
from dynammo.runtime.library_output import caught_output
inside, done = threading.Event(), threading.Event()
def hold():
    with caught_output():
        inside.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    with caught_output() as lines:
        os.write(2, b"of the child\\n")
    os._exit(lines != ["of the child"])
code = os.waitpid(child, 0)[1]
done.set()
print(code)
"""


@pytest.mark.parametrize(("code", "said"), [(CLOSED, "[]"), (FORKED, "0")], ids=["closed", "forked"])
def test_without_stderr_and_in_a_forked_process(code: str, said: str) -> None:
    if "fork" in code and not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == said
