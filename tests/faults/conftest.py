"""Faults that take minutes: `pytest tests/faults -m faults`. Counts are printed, and kept with `--counts FILE`."""

import json
import platform
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

COUNTS: dict[str, Counter[str]] = {}
STARTED = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--counts", default=None, help="JSON file that keeps what was counted")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faults")


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Counter[str]:
    """What a test counts, by a name of its own."""
    return COUNTS.setdefault(request.node.originalname.removeprefix("test_").replace("_", " "), Counter())


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:  # noqa: ANN401
    if not COUNTS:
        return
    for name, counted in COUNTS.items():
        parts = ", ".join(f"{number} {what}" for what, number in counted.items())
        terminalreporter.write_line(f"{name}: {parts}")
    target = config.getoption("--counts", default=None)
    if target:
        passed = len(terminalreporter.stats.get("passed", []))
        others = {kind: len(terminalreporter.stats.get(kind, [])) for kind in ("failed", "error", "skipped")}
        about = {"minutes": round((time.monotonic() - STARTED) / 60, 1), "python": platform.python_version()}
        record = {**about, "tests": {"passed": passed, **others}, "counts": COUNTS}
        Path(target).write_text(json.dumps(record, indent=2) + "\n")
