"""Record `make demo` as docs/demo.md: `python -m benchmarks.figures.record_demo` from the repository root.

What stands there is what a terminal shows, with the seconds since the start; paths of this machine are shortened.
"""

import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer

PAGE = Path("docs/demo.md")
HEAD = """# The demo, as a terminal shows it
Recorded by `python -m benchmarks.figures.record_demo` with Python {python}, {threads}: {seconds} s after \
installation, {work} s of processor time. Figures are those of phantoms, which are drawn by a program and teach \
nothing about disease; `[12 s]` is the time since the start. The table and `comparison.png` stand in `demo/runs`, \
the report is `demo/report/report.html`.

```text
$ git clone URL dynammo && cd dynammo
$ make demo
"""


def recorded(lines: Iterable[tuple[float, str]], commands: Sequence[str], folder: Path) -> Iterator[str]:
    """Lines of the page.

    Args:
        lines: what was printed, with the seconds since the start.
        commands: lines that make echoes, as `make --dry-run` prints them; a dollar sign and the time mark them.
        folder: of the checkout, which is shown as its name.
    """
    for seconds, line in lines:
        line = line.rstrip().replace(str(folder.resolve()), "dynammo")
        if line and line in commands:
            yield f"{f'[{seconds:.0f} s] $ ' if not line.startswith(' ') else ''}{line}"
        else:
            yield line


def commands_of_demo(options: Sequence[str]) -> list[str]:
    """Lines of the commands that `make demo` would type."""
    planned = subprocess.run(["make", "-n", *options, "demo"], capture_output=True, text=True, check=True).stdout
    return [line.rstrip() for line in planned.splitlines()]


def run_demo(options: Sequence[str]) -> Iterator[tuple[float, str]]:
    """Lines that `make demo` prints, with the seconds since the start.

    Raises:
        typer.Exit: it failed.
    """
    started = time.monotonic()
    with subprocess.Popen(
        ["make", *options, "demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            yield time.monotonic() - started, line
    if process.returncode:
        raise typer.Exit(process.returncode)


def main(
    options: Annotated[list[str] | None, typer.Argument(help="Of make, after --: -- -o .venv/installed")] = None,
) -> None:
    """Run the demo and write the page."""
    import torch  # late: the page is read without it

    words = list(options or ())
    commands = commands_of_demo(words)
    lines = list(run_demo(words))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    threads = f"torch with {torch.get_num_threads()} threads on {platform.machine()}".replace(" 1 threads", " 1 thread")
    head = HEAD.format(
        python=platform.python_version(),
        threads=threads,
        seconds=f"{lines[-1][0]:.0f}",
        work=f"{used.ru_utime + used.ru_stime:.0f}",
    )
    PAGE.write_text(head + "\n".join(recorded(lines, commands, Path.cwd())) + "\n```\n", encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    typer.run(main)
