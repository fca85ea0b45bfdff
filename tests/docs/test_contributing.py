"""What a newcomer meets: CONTRIBUTING.md, constraints, the Pythons that CI tries, hooks before a commit."""

import re
import shlex
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from synthetic.datasets import ROOT

from dynammo import merging

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
CONSTRAINTS = [
    Requirement(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")
]


@pytest.fixture(scope="module")
def pythons() -> ModuleType:
    """The script that knows every Python."""
    spec = util.spec_from_file_location("pythons", ROOT / ".ci" / "pythons.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def needed(*requirements: str) -> Iterator[str]:
    """Names of packages that are needed here, and of those that they need."""
    todo, seen = [Requirement(text) for text in requirements], set()
    while todo:
        parent = todo.pop()
        if str(parent) in seen:
            continue
        seen.add(str(parent))
        yield canonicalize_name(parent.name)
        for child in map(Requirement, metadata.requires(parent.name) or []):
            extras = parent.extras or {""}
            if child.marker is None or any(child.marker.evaluate({"extra": extra}) for extra in extras):
                child.marker = None
                todo.append(child)


def test_constraints_name_every_package_that_is_installed(pythons: ModuleType) -> None:
    pinned = {canonicalize_name(r.name): r for r in CONSTRAINTS if r.marker is None or r.marker.evaluate()}
    names = {name for name in needed("dynammo[dev]") if name != "dynammo" and not pythons.CUDA.match(name)}
    assert names <= pinned.keys(), "type make constraints"
    differing = {name for name in names if not pinned[name].specifier.contains(Version(metadata.version(name)).public)}
    assert not differing, "installed is another version; remove .venv and type make test"


def test_constraints_are_versions_and_nothing_else(pythons: ModuleType) -> None:
    for requirement in CONSTRAINTS:
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)) and requirement.url is None
        assert not pythons.CUDA.match(requirement.name)
    assert str(CONSTRAINTS[0]).startswith("torch==") and CONSTRAINTS[0].marker is None


def test_a_version_that_not_every_python_has_gets_a_marker(pythons: ModuleType) -> None:
    pinned = {
        "3.10": {"torch": "2", "numpy": "2.2", "tomli": "2"},
        "3.11": {"torch": "2", "numpy": "2.4"},
        "3.12": {"torch": "2", "numpy": "2.4", "setuptools": "80"},
    }
    assert list(pythons.constraint_lines(pinned)) == [
        "torch==2",
        'numpy==2.2 ; python_version <= "3.10"',
        'numpy==2.4 ; python_version >= "3.11"',
        'setuptools==80 ; python_version >= "3.12"',
        'tomli==2 ; python_version <= "3.10"',
    ]


def test_oldest_versions_are_the_lower_bounds(pythons: ModuleType) -> None:
    text = (ROOT / "pyproject.toml").read_text()
    oldest = {r.name.lower(): r for r in map(Requirement, pythons.lower_bounds(text))}
    for line in metadata.requires("dynammo") or []:
        requirement = Requirement(line)
        if requirement.name != "dynammo":
            (bound,) = str(oldest[requirement.name.lower()].specifier).split("==")[1:]
            assert f">={bound}" in str(requirement.specifier)


def test_pythons_can_be_limited_and_are_found(pythons: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONS", "3.12, 3.10")
    assert pythons.named_pythons() == ["3.10", "3.12"]
    monkeypatch.setenv("PYTHONS", "2.7")
    with pytest.raises(SystemExit, match=r"PYTHONS names 2\.7; expected some of 3\.10"):
        pythons.named_pythons()
    assert pythons.find_python("3.99") is None


def test_one_python_that_fails_fails_all(
    pythons: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = {"3.10": "passed", "3.11": "failed", "3.12": "could not be run: no python3.12"}
    monkeypatch.setattr(pythons, "_test_one", lambda version, arguments: outcomes[version])
    assert [pythons.test(some, []) for some in (["3.10", "3.12"], ["3.10", "3.11"], ["3.12"])] == [0, 1, 1]
    assert "  3.12  could not be run: no python3.12" in capsys.readouterr().out


def test_every_python_of_pyproject_is_tried(pythons: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONS", raising=False)
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    named = pythons.named_pythons()
    assert jobs["test"]["strategy"]["matrix"]["python"] == named
    assert f"Python {named[0]} to {named[-1]}" in (ROOT / "README.md").read_text()
    assert jobs["oldest"]["steps"][1]["with"]["python-version"] == named[0]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands == ["make lint", "make test", "make test-wheel", "make test-oldest"]


def test_hooks_run_what_the_environment_has() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    entries = [shlex.split(hook["entry"]) for hook in repository["hooks"]]
    assert {entry[0] for entry in entries} == {".venv/bin/ruff", ".venv/bin/mypy", ".venv/bin/python"}
    assert (ROOT / entries[-1][-1]).is_file()


def test_the_page_names_what_is_there() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z][\w-]+)", PAGE)) <= set(targets)
    for link in re.findall(r"\]\(([^)#:]+)", PAGE):
        assert (ROOT / link).is_file()
    for path in re.findall(r"(?:bundle|configs|dynammo|tests)/[\w/]+\.(?:yaml|py)", PAGE):
        assert (ROOT / path).is_file()


def test_the_first_change_works() -> None:
    function, row, test = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = dict(vars(merging))
    exec(function, names)
    names["STRATEGIES"] = eval(f"{{{row}}}", names)
    exec(test + "test_median_by_hand()\n", names)


def test_types_of_the_package_are_for_others_too() -> None:
    assert (Path(merging.__file__).parent / "py.typed").is_file()
