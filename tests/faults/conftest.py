"""Faults that take minutes: `pytest tests/faults -m faults`. Counts are printed, and kept with `--counts FILE`."""

import json
import platform
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

STARTED = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--counts", default=None, help="JSON file that keeps what was counted")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faults")


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """What a test counts; reports carry it from whatever process the test runs in."""
    counted: Counter[str] = Counter()
    yield counted
    request.node.user_properties.append((request.node.originalname, dict(counted)))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:  # noqa: ANN401
    counts: dict[str, Counter[str]] = {}
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if getattr(report, "when", "") == "teardown":
            for name, counted in report.user_properties:
                counts.setdefault(name.removeprefix("test_").replace("_", " "), Counter()).update(counted)
    for name, counted in counts.items():
        terminalreporter.write_line(f"{name}: {', '.join(f'{number} {what}' for what, number in counted.items())}")
    target = config.getoption("--counts", default=None)
    if target:
        passed = len(terminalreporter.stats.get("passed", []))
        others = {kind: len(terminalreporter.stats.get(kind, [])) for kind in ("failed", "error", "skipped")}
        about = {"minutes": round((time.monotonic() - STARTED) / 60, 1), "python": platform.python_version()}
        record = {**about, "tests": {"passed": passed, **others}, "counts": dict(sorted(counts.items()))}
        Path(target).write_text(json.dumps(record, indent=2) + "\n")
