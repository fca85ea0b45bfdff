"""Turn result files into the tables that README.md, docs/reproducibility.md and docs/lab-notebook.md show.

Type `python -m benchmarks.studies.results_table docs/results/derm8_*.json` from the repository root; `run.json` files
of trainings do as well, and so does `table.json` of `python -m benchmarks accuracy`, alone.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from dynammo.runtime.plain import decimals, percent
from dynammo.training.settings import RECOMMENDED

ORDER = ("dynammo", "acl", "finetune", "joint", "ridge", "analytic")
HEADER = (
    "| method | mean class recall, average | last | accuracy, average | last | forgetting "
    "| cost of one image | images kept |\n"
    "|---|---|---|---|---|---|---|---|"
)

ORDERS = ("acl", "dynammo", "dynammo_refit", "light", "analytic")
HEADER_OF_ORDERS = (
    "| images | method | mean class recall, average | last | cost of one image | images kept |\n"
    "|---|---|---|---|---|---|"
)


SETS = ("derm8", "path11", "radio12", "med31")
METHODS = {
    "finetune": "fine-tuning",
    "acl": "ACL: an adapter for each task, a pass for each",
    "dynammo": "DynaMMo, the paper: adapters merged into one network",
    "light": "`light`: a closed-form head over the means of the last layer, 1 MB",
    "analytic": "**recommended**: `analytic`, a closed-form head over class statistics",
}
HEADER_OF_LAST = f"| method | {' | '.join(SETS)} | images kept | cost of one image |\n|{'---|' * (len(SETS) + 3)}"


def table_of_orders(file: Path) -> str:
    """Markdown table of several class orders, mean ± standard deviation; the methods that have all of them."""
    sets = json.loads(file.read_text(encoding="utf-8"))
    rows = [
        f"| {name} | {method} | {_spread(row['recall_average'])} | {_spread(row['recall_last'])} "
        f"| {decimals(row['gmac_ratio']['mean'], 2)} x | {decimals(row['images_kept']['mean'], 0)} |"
        for name, methods in sets.items()
        for method, row in methods.items()
        if method in ORDERS and len(row["seeds"]) > 1
    ]
    return "\n".join([HEADER_OF_ORDERS, *rows])


def table_of_last_recall(file: Path) -> str:
    """Markdown table of README: mean class recall after the last task, a column for each set."""
    sets = json.loads(file.read_text(encoding="utf-8"))
    rows = [HEADER_OF_LAST]
    for method, words in METHODS.items():
        found = [sets[name][method] for name in SETS]
        kept, cost = ([row[key]["mean"] for row in found] for key in ("images_kept", "gmac_ratio"))
        cells = [*(_spread(row["recall_last"]) for row in found), _range(kept, 0), f"{_range(cost, 2)} x"]
        bold = method == RECOMMENDED
        rows.append(f"| {' | '.join([words, *(f'**{cell}**' if bold else cell for cell in cells)])} |")
    return "\n".join(rows)


def _range(values: list[float], digits: int) -> str:
    ends = [decimals(end, digits) for end in (min(values), max(values))]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _spread(value: dict[str, float | None]) -> str:
    """Mean ± standard deviation, or one order's value alone."""
    mean, deviation = value["mean"], value["deviation"]
    assert mean is not None
    return decimals(mean, 1) if deviation is None else f"{decimals(mean, 1)} ± {decimals(deviation, 1)}"


def table(files: list[Path]) -> str:
    """Markdown table, one row for each `run.json`: percentages, GMAC as a multiple of the plain backbone's."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    records.sort(key=lambda record: (ORDER.index(record["method"]), record["seed"]))
    return "\n".join([HEADER, *map(_row, records)])


def _row(record: dict[str, dict[str, float]]) -> str:
    metrics, cost = record["metrics"], record["cost"]
    names = ("average_mean_class_recall", "last_mean_class_recall", "average_incremental_accuracy", "last_accuracy")
    cells = [percent(metrics[name]) for name in (*names, "forgetting")]
    ratio = cost["gmac_per_image"] / cost["gmac_backbone"]
    return f"| {record['method']} | {' | '.join(cells)} | {decimals(ratio, 2)} x | {decimals(cost['images_kept'], 0)} |"


def main(files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Print the table of result files."""
    print(table(files) if "method" in json.loads(files[0].read_text(encoding="utf-8")) else table_of_orders(files[0]))


if __name__ == "__main__":
    typer.run(main)
