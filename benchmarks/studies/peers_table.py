"""Markdown tables of docs/peers.md and the row of README.md from docs/results/peers.json and few_shot.json.

Type `python -m benchmarks.studies.peers_table` from the repository root.
"""

import json
from pathlib import Path
from typing import Any

import typer

from benchmarks.material import SETS
from benchmarks.peers import CONTENDERS, shown
from dynammo.runtime.plain import decimals

PEERS, FEW_SHOT = Path("docs/results/peers.json"), Path("docs/results/few_shot.json")
REFERENCE = "logistic regression, features of light"
HEADER = (
    f"| method | {' | '.join(f'{name}, average / last' for name in SETS)} | last task, core s | state, MB "
    f"| images kept |\n|{'---|' * (len(SETS) + 4)}"
)
QUOTED_HEADER = f"| quoted, not rerun | {' | '.join(SETS)} | images kept |\n|{'---|' * (len(SETS) + 2)}"


def table_of_peers(record: dict[str, Any]) -> str:
    """A row for each contender; seconds and state from the smallest to the largest; - is not measured."""
    rows = [HEADER]
    for name in CONTENDERS:
        found = [record["sets"].get(of, {}).get(name) for of in SETS]
        there = [row for row in found if row]
        if there:
            cells = [f"{shown(row['recall_average'])} / {shown(row['recall_last'])}" if row else "-" for row in found]
            cells.append(_range([row["seconds_last_task"]["mean"] for row in there], 2))
            cells.append(_range([row["state_bytes"] / 1e6 for row in there], 1))
            kept = {str(row["images_kept"]) for row in there}
            rows.append(f"| {' | '.join([name, *cells, kept.pop() if len(kept) == 1 else 'features of all'])} |")
    return "\n".join(rows)


def table_of_quoted(record: dict[str, Any]) -> str:
    """What other libraries reached, as it was quoted."""
    rows = [
        f"| {' | '.join([row['name'], *(row[name] or '-' for name in SETS), str(row['images_kept'])])} |"
        for row in record["quoted"]["rows"]
    ]
    return "\n".join([QUOTED_HEADER, *rows])


def row_of_readme(record: dict[str, Any]) -> str:
    """The joint reference: logistic regression on the features of all images at once."""
    cells = [shown(record["sets"][name][REFERENCE]["recall_last"]) for name in SETS]
    words = "reference: logistic regression on `light`'s features of all images at once"
    return f"| {' | '.join([words, *cells, '-', 'features of all', '1.00 x'])} |"


def table_of_few_shot(record: dict[str, Any], measure: str) -> str:
    """A row for each set and method, a column for each number of images."""
    numbers = [str(number) for number in record["images"]]
    rows = [f"| set | method | {' | '.join(numbers)} |\n|{'---|' * (len(numbers) + 2)}"]
    for name, methods in record["sets"].items():
        for method, values in methods.items():
            rows.append(f"| {name} | {method} | {' | '.join(shown(values['recall'][measure][n]) for n in numbers)} |")
    return "\n".join(rows)


def _range(values: list[float], digits: int) -> str:
    ends = [decimals(end, digits) for end in (min(values), max(values))]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def main() -> None:
    """Print all tables whose files are there."""
    if PEERS.is_file():
        record = json.loads(PEERS.read_text(encoding="utf-8"))
        print(table_of_peers(record), table_of_quoted(record), row_of_readme(record), sep="\n\n")
    if FEW_SHOT.is_file():
        record = json.loads(FEW_SHOT.read_text(encoding="utf-8"))
        for measure in ("all_classes", "new_classes", "every_class_few"):
            print(f"\n{measure}\n\n{table_of_few_shot(record, measure)}")


if __name__ == "__main__":
    typer.run(main)
