"""The pages as a site: every page is in it, it asks nothing of other machines, what is written from code is true."""

import re
from typing import Any

import pytest
import typer
import yaml
from synthetic.datasets import ROOT

from benchmarks.figures.write_commands import commands_page
from dynammo.cli import app

DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    """mkdocs.yml."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    return found


def listed(navigation: Any) -> list[str]:  # noqa: ANN401
    """Files that a part of the navigation names."""
    if isinstance(navigation, str):
        return [navigation]
    parts = navigation.values() if isinstance(navigation, dict) else navigation
    return [file for part in parts for file in listed(part)]


def test_every_page_is_in_the_navigation_once(config: dict[str, Any]) -> None:
    assert sorted(listed(config["nav"])) == sorted(file.name for file in DOCS.glob("*.md"))
    doors = [next(iter(part)) for part in config["nav"]]
    assert doors[1:5] == ["Try", "Train", "Clinic", "Deploy"]


def test_a_reader_asks_nothing_of_other_machines(config: dict[str, Any]) -> None:
    assert config["theme"]["font"] is False
    assert not {"extra_css", "extra_javascript", "extra", "repo_url"} & config.keys()
    for page in DOCS.glob("*.md"):  # `make docs` looks at the finished pages
        text = page.read_text()
        assert not re.search(r"!\[[^\]]*\]\(https?:", text) and "```mermaid" not in text, page.name


def test_links_lead_to_files_that_a_checkout_and_the_site_have() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
            assert (DOCS / target).is_file(), f"{page.name}: {target}"


def test_the_page_of_commands_is_what_the_commands_say() -> None:
    page = (DOCS / "commands.md").read_text()
    group: Any = typer.main.get_command(app)
    for name, command in group.commands.items():
        assert (f"### dynammo {name}\n" in page) is not command.hidden
    if f"typer=={typer.__version__} " not in (ROOT / "constraints.txt").read_text():
        pytest.skip(f"typer {typer.__version__} words types otherwise than the version of constraints.txt")
    assert page == commands_page(), "run python -m benchmarks.figures.write_commands"


def test_what_a_stranger_reads_first_is_short() -> None:
    words = len(re.sub(r"^\|.*$", "", (DOCS / "reproducibility.md").read_text(), flags=re.MULTILINE).split())
    assert words < 400
    rows = re.findall(r"^\| (\w[^|]*) \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)[1:]
    assert len(rows) > 30 and rows == sorted(rows, key=str.lower)
