"""Every command of every page can be typed: command, options and the files of the checkout that it names exist.

Most are run by other tests; some take hours, need a download or machines of a hospital.
"""

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from synthetic.datasets import ROOT
from synthetic.pages import commands_of

from benchmarks.__main__ import app as benchmarks
from dynammo.cli import app as dynammo
from dynammo.training.typed_settings import config_ids

APPS = {"dynammo": typer.main.get_command(dynammo), "benchmarks": typer.main.get_command(benchmarks)}
IDS = {name for file in (ROOT / "bundle" / "configs").glob("*.yaml") for name in config_ids(file)}
MONAI = {"config_file", "meta_file", "logging_file", "filepath", "ckpt_file", "net_id", "bundle_root", "key_in_ckpt"}
OTHERS = {
    "cd", "curl", "docker", "git", "holoscan", "make", "mkdir", "mlflow", "mv", "pip", "pre-commit", "python3.11",
    "source",
}  # fmt: skip
UsageError = typer.BadParameter.__mro__[1]  # typer carries its own click


def typed(page: str) -> list[str]:
    """Commands of a page; what a loop repeats is one too."""
    lines = [line.strip() for text in commands_of(page) for line in re.split(r"; do |; (?=done)", text)]
    return [line for line in lines if line and not re.match(r"(for |done|#|export )", line)]


PAGES = ["README.md", "CONTRIBUTING.md", *sorted(f"docs/{file.name}" for file in (ROOT / "docs").glob("*.md"))]
COMMANDS = [(page, command) for page in PAGES for command in typed(page)]


def check(command: str) -> None:
    """Take one command apart as the shell and its parser do.

    Raises:
        AssertionError, UsageError: it cannot be typed.
    """
    words = shlex.split(command, comments=True)
    while re.match(r"[A-Z_]+=", words[0]):  # of the environment
        words = words[1:]
    name, *rest = words
    if name == "torchrun":
        name, rest = "python", rest[rest.index("-m") :]
    for file in re.findall(r"(?:bundle|configs)/[\w/]+\.yaml", command):
        assert (ROOT / file).is_file() or (ROOT / "bundle" / file).is_file(), file  # those of an exported bundle, too
    if name == "python" and rest[0] == "-m":
        module, *words = rest[1:]
        if module == "monai.bundle":
            assert {word[2:].split("=")[0] for word in words if word.startswith("--")} <= IDS | MONAI, command
        elif module == "benchmarks":
            parse(APPS["benchmarks"], words)
        else:
            assert find_spec(module), module
    elif name == "dynammo":
        parse(APPS["dynammo"], rest)
    elif name == "python":
        assert (ROOT / rest[0]).is_file(), command
    elif name.endswith("/python"):  # of an environment that an app has for itself
        assert rest, command
    else:
        assert Path(name).name in OTHERS, command


def parse(group: Any, words: list[str]) -> None:  # noqa: ANN401
    with group.make_context("typed", list(words[:1]), resilient_parsing=True) as context:
        name, command, _ = group.resolve_command(context, list(words))
        assert name is not None and command is not None
        command.make_context(name, list(words[1:]), parent=context)


@pytest.mark.parametrize(("page", "command"), COMMANDS, ids=[f"{page}-{n}" for n, (page, _) in enumerate(COMMANDS)])
def test_it_can_be_typed(page: str, command: str) -> None:
    check(command)


@pytest.mark.parametrize(
    "command",
    ["dynammo trian images/", "dynammo train images/ --bakcbone x", "python -m benchmarks peers --sets derm8",
     "python -m monai.bundle run training --config_file bundle/configs/train.yaml --epoch 3", "bash run.sh",
     "python -m monai.bundle run training --config_file bundle/configs/trian.yaml", "python -m data_prep.nothing"],
)  # fmt: skip
def test_what_cannot_be_typed_is_found(command: str) -> None:
    with pytest.raises((AssertionError, UsageError)):
        check(command)
