"""Turn result files into the tables that README.md and docs/reproducibility.md show.

Type `python -m benchmarks.studies.results_table docs/results/derm8_*.json` from the repository root; `run.json` files
of trainings do as well, and so does `table.json` of `python -m benchmarks accuracy`, alone.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from dynammo.runtime.plain import decimals, percent

ORDER = ("dynammo", "acl", "finetune", "joint", "ridge", "analytic")
HEADER = (
    "| method | mean class recall, average | last | accuracy, average | last | forgetting "
    "| cost of one image | images kept |\n"
    "|---|---|---|---|---|---|---|---|"
)

ORDERS = ("acl", "dynammo", "dynammo_refit", "ridge", "analytic")
HEADER_OF_ORDERS = (
    "| images | method | mean class recall, average | last | cost of one image | images kept |\n"
    "|---|---|---|---|---|---|"
)


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


def _spread(value: dict[str, float]) -> str:
    return f"{decimals(value['mean'], 1)} ± {decimals(value['deviation'], 1)}"


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
