"""`python -m benchmarks accuracy`: methods x data sets x seeds through the bundle, as result files and one table.

Every training is a process of its own and leaves its `run.json`; one that is finished is not run again.
"""

import json
import math
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from benchmarks.report import table
from dynammo.errors import UserError
from dynammo.runtime.files import prepare_output_dir, write_atomically, write_json
from dynammo.runtime.plain import decimals

__all__ = ["COLUMNS", "AccuracyRun", "benchmark_accuracy", "measures", "plan", "summary", "train"]

COLUMNS = {
    "average": "accuracy, average %",
    "last": "last %",
    "forgetting": "forgetting %",
    "recall_average": "mean class recall, average %",
    "recall_last": "last %",
    "unknown_auroc": "unknown AUROC %",
    "ece": "ECE %",
    "gmac_ratio": "GMAC ratio",
    "state_mb": "state MB",
    "images_kept": "images kept",
}
"""Columns of the table by the name of the measure."""
SHOWN = {
    "recall_average": "average",
    "recall_last": "last",
    "forgetting": "forgetting",
    "gmac_ratio": "GMAC",
    "images_kept": "images",
}
"""What fits on a screen, the first two of mean class recall."""

KEYS = {"output_dir": str, "methods": dict, "seeds": list, "datasets": dict, "settings": dict}


@dataclass(frozen=True)
class AccuracyRun:
    """One training: a method on a data set with a seed.

    Attributes:
        folder: where its result lies.
        configs: train.yaml and the overlays.
        overrides: values typed behind them.
    """

    dataset: str
    method: str
    seed: int
    folder: Path
    configs: tuple[str, ...]
    overrides: Mapping[str, Any]

    @property
    def command(self) -> list[str]:
        """The bundle command."""
        typed = [word for name, value in self.overrides.items() for word in (f"--{name}", str(value))]
        start = [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", str(list(self.configs))]
        return [*start, *typed, "--seed", str(self.seed), "--output_dir", str(self.folder)]

    @property
    def result(self) -> dict[str, Any] | None:
        """`run.json` of the finished training; None while tasks are left."""
        file = self.folder / "run.json"
        if not file.is_file():
            return None
        record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return record if record["tasks_learnt"] == len(record["tasks"]) else None


def benchmark_accuracy(config: Path) -> None:
    """Run what is not finished yet, then print the table and write it to `table.md` and `table.json`.

    A training that fails is named with its log, and the others go on.

    Raises:
        UserError: a config that cannot be read, or trainings that failed.
    """
    runs = plan(config)
    folder = prepare_output_dir(runs[0].folder.parent.parent)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    failed = []
    for number, run in enumerate(runs, start=1):
        done = run.result is not None
        console.print(
            f"{number}/{len(runs)}  {run.dataset} {run.method} seed {run.seed}{': finished before' if done else ''}"
        )
        if not done and not train(run):
            failed.append(run.folder / "log.txt")
            console.print(f"failed, see {failed[-1]}")
    _write_table(runs, folder)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(runs)} trainings failed ({failed[0]} says why); type the same command again to run "
            "them alone."
        )


def plan(config: Path) -> list[AccuracyRun]:
    """Every training of the benchmark, data set by data set.

    Args:
        config: YAML with methods and datasets (names of the overlays beside it, with overrides: a method's win),
            seeds, settings (overrides for all) and output_dir. `adapters_from` of a method names one above it, whose
            adapters it merges otherwise; `overlay` the overlay, where a method is listed under another name.

    Raises:
        UserError: no such file, an unknown or missing key, or a name without its overlay.
    """
    settings = _read(config)
    return [
        _run(config, settings, dataset, method, int(seed))
        for dataset in settings["datasets"]
        for seed in settings["seeds"]
        for method in settings["methods"]
    ]


def train(run: AccuracyRun) -> bool:
    """Run one training; True when it is finished."""
    run.folder.mkdir(parents=True, exist_ok=True)
    with (run.folder / "log.txt").open("wb") as log:
        code = subprocess.run(run.command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    return code == 0 and run.result is not None


def _run(config: Path, settings: Mapping[str, Any], dataset: str, method: str, seed: int) -> AccuracyRun:
    folder, train = Path(settings["output_dir"]) / dataset, config.parent.parent / "bundle" / "configs" / "train.yaml"
    own = dict(settings["methods"][method] or {})
    overlay = own.pop("overlay", method)
    if "adapters_from" in own:
        own["adapters_from"] = folder / f"{_listed_above(own['adapters_from'], method, settings['methods'])}_{seed}"
    return AccuracyRun(
        dataset,
        method,
        seed,
        folder / f"{method}_{seed}",
        (str(train), _overlay(config, "datasets", dataset), _overlay(config, "methods", overlay)),
        {**settings["settings"], **(settings["datasets"][dataset] or {}), **own, "method": method},
    )


def _listed_above(source: str, method: str, methods: Mapping[str, Any]) -> str:
    if source not in list(methods)[: list(methods).index(method)]:
        raise UserError(f"{method} takes its adapters from {source!r}, which is no method listed above it; list it.")
    return source


def measures(record: Mapping[str, Any]) -> dict[str, float]:
    """The columns of one training: fractions as percent, the unknown AUROC as mean over all tasks but the last.

    Args:
        record: a `run.json`.
    """
    metrics, cost, results = record["metrics"], record["cost"], record["results"]
    scores = [result["unknown_auroc"] for result in results if result["unknown_auroc"] is not None]
    fractions = {
        "average": metrics["average_incremental_accuracy"],
        "last": metrics["last_accuracy"],
        "forgetting": metrics["forgetting"],
        "recall_average": metrics["average_mean_class_recall"],
        "recall_last": metrics["last_mean_class_recall"],
        "unknown_auroc": statistics.mean(scores) if scores else None,
        "ece": results[-1]["ece"],
    }
    return {
        **{name: math.nan if value is None else 100 * value for name, value in fractions.items()},
        "gmac_ratio": cost["gmac_per_image"] / cost["gmac_backbone"],
        "state_mb": cost["state_bytes"] / 1e6,
        "images_kept": float(cost["images_kept"]),
    }


def summary(runs: Sequence[AccuracyRun]) -> dict[str, dict[str, dict[str, Any]]]:
    """Mean and standard deviation over the finished seeds, by data set and method."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for run in runs:
        record = run.result
        if record is not None:
            row = found.setdefault(run.dataset, {}).setdefault(run.method, {"seeds": [], "commits": []})
            row["seeds"].append(run.seed)
            row["commits"].append(record["commit"])
            for name, value in measures(record).items():
                row.setdefault(name, []).append(value)
    for rows in found.values():
        for row in rows.values():
            for name in COLUMNS:
                row[name] = _spread(row[name])
    return found


def _spread(values: Sequence[float]) -> dict[str, float]:
    if any(math.isnan(value) for value in values):  # of `joint`, which forgets nothing
        return {"mean": math.nan, "deviation": math.nan}
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return {"mean": statistics.mean(values), "deviation": deviation}


def _write_table(runs: Sequence[AccuracyRun], folder: Path) -> None:
    found = summary(runs)
    names = ["data set", "method", "seeds"]
    headings = (*names, *SHOWN.values())
    style: dict[str, Any] = {"words": len(headings), "no_wrap": True, "padding": (0, 1, 0, 0), "pad_edge": False}
    made = table("mean class recall, forgetting, cost", *headings, **style)
    columns = [*names, *COLUMNS.values()]
    markdown = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for dataset, rows in found.items():
        for method, row in rows.items():
            cells = {name: _cell(name, row[name]) for name in COLUMNS}
            start = [dataset, method, str(len(row["seeds"]))]
            made.add_row(*start, *(cells[name].replace(" ", "") for name in SHOWN))
            markdown.append(f"| {' | '.join([*start, *cells.values()])} |")
    text = "\n".join(markdown) + "\n"
    write_atomically(folder / "table.md", lambda file: file.write(text.encode()))
    write_json(folder / "table.json", found)
    console = Console(highlight=False)
    console.print(made)
    console.print(f"percent, mean ± standard deviation; all measures: {folder / 'table.md'}")


def _cell(name: str, spread: Mapping[str, float]) -> str:
    digits = {"gmac_ratio": 2, "images_kept": 0}.get(name, 1)
    if math.isnan(spread["mean"]):
        return "-"
    deviation = f" ± {decimals(spread['deviation'], digits)}" if spread["deviation"] >= 0.5 * 10**-digits else ""
    return f"{decimals(spread['mean'], digits)}{deviation}"


def _read(config: Path) -> dict[str, Any]:
    if not config.is_file():
        raise UserError(f"there is no file {config}; give --config a benchmark file such as configs/benchmark.yaml.")
    try:
        settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"{config} is not YAML ({str(error).splitlines()[0]}); mend it.") from error
    if not isinstance(settings, dict) or set(settings) != set(KEYS):
        raise UserError(f"{config} must have exactly the keys {', '.join(KEYS)}; see configs/benchmark.yaml.")
    for name, kind in KEYS.items():
        if not isinstance(settings[name], kind) or (name in ("methods", "seeds", "datasets") and not settings[name]):
            raise UserError(f"{name} in {config} is {settings[name]!r}; see configs/benchmark.yaml.")
    return settings


def _overlay(config: Path, kind: str, name: str) -> str:
    file = config.parent / kind / f"{name}.yaml"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in file.parent.glob("*.yaml")))
        raise UserError(f"{config} names {name!r} under {kind}, but there is no {file}; give one of {known}.")
    return str(file)
