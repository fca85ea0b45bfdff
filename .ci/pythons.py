#!/usr/bin/env python3
"""Every Python that pyproject.toml names, and the versions of packages that are tried with it.

    python .ci/pythons.py test          the core suite in an environment for each Python available (make test-pythons)
    python .ci/pythons.py constraints   constraints.txt anew (make constraints); --newest: the newest versions
    python .ci/pythons.py oldest        the oldest allowed version of what dynammo needs itself, as constraints

PYTHONS="3.12 3.13" limits them. Only the standard library is needed, on any of these Pythons.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

__all__ = ["constraint_lines", "find_python", "lower_bounds", "named_pythons", "pins", "test"]

ROOT = Path(__file__).resolve().parents[1]
CONSTRAINTS = ROOT / "constraints.txt"
CUDA = re.compile(r"nvidia-|cuda-|triton")  # what torch's build for NVIDIA brings; the build for processors has none
HEADER = """\
# Every package of the environment that `make test` uses, for every Python, as tried together on Linux.
# Made by `make constraints`, which keeps the versions that stand here; with NEWEST=1 it takes the newest allowed.
# torch is changed by hand alone: a free range would fetch several GB of CUDA packages.
"""


def named_pythons() -> list[str]:
    """Pythons of pyproject.toml, oldest first; those of the variable PYTHONS where it is set."""
    named = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    wanted = os.environ.get("PYTHONS", "").replace(",", " ").split() or named
    if strangers := set(wanted) - set(named):
        sys.exit(f"PYTHONS names {' '.join(sorted(strangers))}; expected some of {' '.join(named)}.")
    return [python for python in named if python in wanted]


def find_python(version: str) -> str | None:
    """An interpreter such as 3.12 on PATH, else among pyenv's versions; None where there is none that runs."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    for candidate in [f"python{version}", *sorted(map(str, pyenv.glob(f"{version}.*/bin/python")), reverse=True)]:
        try:
            code = "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2])"
            done = subprocess.run([candidate, "-c", code], capture_output=True, text=True)
        except OSError:
            continue
        path, _, found = done.stdout.strip().rpartition(" ")
        if found == version:
            return path
    return None


def test(pythons: Sequence[str], arguments: Sequence[str]) -> int:
    """Run the core suite in an environment of each Python; 1 where one of them fails or none could be run."""
    outcomes = {}
    for version in pythons:
        outcomes[version] = _test_one(version, arguments)
        print(f"Python {version}: {outcomes[version]}", flush=True)
    print("\nAll Pythons:", *(f"  {version:<5} {outcome}" for version, outcome in outcomes.items()), sep="\n")
    return int("failed" in outcomes.values() or "passed" not in outcomes.values())


def _test_one(version: str, arguments: Sequence[str]) -> str:
    interpreter = find_python(version)
    if interpreter is None:
        return f"could not be run: no python{version} on PATH or among pyenv's versions"
    python = f".venv-{version}/bin/python"
    if subprocess.run(["make", f".venv-{version}/installed", f"PYTHON={interpreter}"], cwd=ROOT).returncode:
        return "could not be run: the packages could not be installed, see above"
    about = "import sys, torch; print('Python', sys.version, 'torch', torch.__version__)"
    subprocess.run([python, "-c", about], cwd=ROOT)
    return "failed" if subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT).returncode else "passed"


def pins(version: str, newest: bool) -> dict[str, str]:
    """Versions by name that pip would install for a Python; nothing is installed.

    Raises:
        SystemExit: there is no such Python, or pip finds no versions that go together.
    """
    interpreter = find_python(version)
    if interpreter is None:
        sys.exit(f"There is no Python {version}; constraints name every Python, so install it, for example by pyenv.")
    kept = [line for line in CONSTRAINTS.read_text().splitlines() if not newest or line.startswith("torch==")]
    found = {re.sub(r"[-_.]+", "-", p["name"]).lower(): p["version"] for p in _ask_pip(interpreter, kept)}
    return {n: v.split("+")[0] for n, v in found.items() if n != "dynammo" and not CUDA.match(n)}


def _ask_pip(interpreter: str, kept: Sequence[str]) -> list[dict[str, str]]:
    """Metadata of what pip would install from nothing where the kept lines are constraints."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "kept.txt").write_text("\n".join(kept))
        pip = [sys.executable, "-m", "pip", "--python", interpreter, "install", "--dry-run", "--ignore-installed"]
        options = ["--report", f"{folder}/report.json", "-c", f"{folder}/kept.txt", "torch", ".[dev]"]
        done = subprocess.run([*pip, *options], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            print(*done.stdout.splitlines()[-20:], sep="\n")  # pip ends with the requirements that do not go together
            sys.exit("pip found no versions, see above; take the line out of constraints.txt, or type NEWEST=1.")
        return [item["metadata"] for item in json.loads((Path(folder) / "report.json").read_text())["install"]]


def constraint_lines(pinned: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """One line for each package and version, with a marker where not every Python has it.

    Args:
        pinned: versions by name, by Python, oldest Python first.
    """
    pythons = list(pinned)
    for name in sorted(set().union(*pinned.values()), key=lambda name: (name != "torch", name)):
        start = 0
        while start < len(pythons):
            version, end = pinned[pythons[start]].get(name), start
            while end + 1 < len(pythons) and pinned[pythons[end + 1]].get(name) == version:
                end += 1
            if version:
                yield f"{name}=={version}{_marker(pythons, start, end)}"
            start = end + 1


def _marker(pythons: Sequence[str], start: int, end: int) -> str:
    """Which Pythons from start to end are meant; nothing where all are."""
    bounds = [f'python_version >= "{pythons[start]}"'] if start else []
    bounds += [f'python_version <= "{pythons[end]}"'] if end < len(pythons) - 1 else []
    return " ; " + " and ".join(bounds) if bounds else ""


def lower_bounds(pyproject: str) -> list[str]:
    """`numpy==2` for `"numpy>=2,<3"`, for every requirement of pyproject.toml's text that has a lower bound."""
    found = re.findall(r'^  "([\w.-]+)(?:\[\w+\])?>=([\w.]+)', pyproject, re.MULTILINE)
    return [f"{name}=={version}" for name, version in found]


def main() -> int:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["test", "constraints", "oldest"])
    parser.add_argument("--newest", action="store_true", help="constraints: the newest versions allowed")
    options, arguments = parser.parse_known_args()
    if options.what == "test":
        return test(named_pythons(), arguments)
    if options.what == "oldest":
        print(*lower_bounds((ROOT / "pyproject.toml").read_text()), sep="\n")
    else:
        os.environ.pop("PYTHONS", None)  # the file names every Python
        lines = constraint_lines({version: pins(version, options.newest) for version in named_pythons()})
        CONSTRAINTS.write_text(HEADER + "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
