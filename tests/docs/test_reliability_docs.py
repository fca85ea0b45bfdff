"""The counts in docs/reliability.md are those of the fault suite's last run."""

import json
from typing import Any

from synthetic.datasets import ROOT

FILE = ROOT / "docs" / "results" / "faults.json"


def table(record: dict[str, Any]) -> str:
    rows = [
        f"| {name} | {', '.join(f'{number} {what}' for what, number in counted.items())} |"
        for name, counted in record["counts"].items()
    ]
    tests = record["tests"]
    done = f"{tests['passed']} passed, {tests['failed'] + tests['error']} failed, {tests['skipped']} skipped"
    return "\n".join([f"| fault | counts ({done}; {record['minutes']} minutes) |", "|---|---|", *rows])


def test_the_page_says_what_was_counted() -> None:
    record = json.loads(FILE.read_text())
    assert record["tests"]["failed"] == record["tests"]["error"] == 0
    assert table(record) in (ROOT / "docs" / "reliability.md").read_text()


def test_the_suite_counts_what_it_promises() -> None:
    counts = json.loads(FILE.read_text())["counts"]
    killed = [number for name, counted in counts.items() if name.startswith("killed") for number in counted.values()]
    assert sum(killed) >= 50
    damaged = (counts["damaged checkpoints"], counts["damaged data lists"])
    assert sum(sum(counted.values()) for counted in damaged) >= 1000
