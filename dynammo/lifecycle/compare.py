"""`dynammo compare`: finished runs on the same images, in one table and one figure; reads records alone."""

import io
import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.markup import escape
from rich.table import Table

from dynammo.errors import UserError, printable
from dynammo.runs.record import Record, check_finished, check_tasks, locate_model, measured, read_record
from dynammo.runtime.plain import decimals, expanded, rounded, say
from dynammo.runtime.tables import csv_bytes
from dynammo.runtime.terminal import Terminal
from dynammo.training.settings import RECIPE, recorded_names, updated

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MEASURES", "Comparison", "Row", "Spread", "compare", "comparison_figure", "print_comparison"]

MEASURES: dict[str, tuple[str, float, int]] = {
    "average_mean_class_recall": ("average\nrecall %", 100, 1),
    "last_mean_class_recall": ("last\nrecall %", 100, 1),
    "forgetting": ("forgetting\n%", 100, 1),
    "cost_ratio": ("cost, x\nbackbone", 1, 2),
    "images_kept": ("images\nkept", 1, 0),
    "train_seconds": ("learning\ns", 1, 0),
    "state_bytes": ("state\nMB", 1e-6, 1),
}
"""What is compared: heading, factor to its unit, decimals. The names are those of `run.json`; `cost_ratio` is the cost
of one image as a multiple of the backbone's."""
COMMON = ("image_size", *RECIPE, "architecture", "stages", "weights")  # what methods should share to be compared
# what runs may differ in and still be repeats of each other: where things lie, and what changes no number
PLACES = ("dataset_dir", "data_list", "adapters_from", *recorded_names(lambda setting: setting.changes == "always"))
DIGITS = 6


@dataclass(frozen=True)
class Spread:
    """Mean over the runs of a row, and their standard deviation; None where nothing was measured, or of one run."""

    mean: float | None
    deviation: float | None


@dataclass(frozen=True)
class Row:
    """One run, or the runs of a method that differ in their seed alone.

    Attributes:
        name: the method; folders where several rows have the same.
        method: as recorded.
        runs: names of their folders.
        seeds: of the runs, None where not recorded.
        classes_seen: number of classes known after each of T tasks.
        recalls: mean class recall after each of them.
        measures: by the names of `MEASURES`.
    """

    name: str
    method: str
    runs: tuple[str, ...]
    seeds: tuple[int | None, ...]
    classes_seen: tuple[int, ...]
    recalls: tuple[Spread, ...]
    measures: Mapping[str, Spread]


@dataclass(frozen=True)
class Comparison:
    """What finished runs on the same test images have reached.

    Attributes:
        classes: their names, sorted.
        test_images: number of test images of all classes.
        rows: in the order of the runs.
        notes: sentences on what differs between the runs beside their method.
    """

    classes: tuple[str, ...]
    test_images: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Run:
    name: str
    record: Record

    @property
    def method(self) -> str:
        return self.record["method"]

    @property
    def sizes(self) -> list[int]:
        return [len(task) for task in self.record["tasks"][: self.record["tasks_learnt"]]]

    @property
    def test_images(self) -> dict[str, int]:
        counts = map(sum, self.record["results"][-1]["confusion"])
        return dict(zip(self.record["classes"], counts, strict=True))

    @property
    def settings(self) -> dict[str, Any]:
        """What may make a difference, without seed and places; of weights the file alone."""
        known = {name: value for name, value in updated(self.record["config"]).items() if name not in PLACES}
        known.pop("seed", None)
        recipe = known.pop("recipe", {})
        return {**known, **recipe, "weights": Path(str(known.get("weights"))).name}


def compare(runs: Sequence[Path], output: Path | None = None) -> Comparison:
    """Compare finished runs that were tested on the same images of the same classes.

    Args:
        runs: folders of at least two runs or exported bundles.
        output: folder for `comparison.png`, `comparison.csv` and `comparison.json`; None to write nothing.

    Raises:
        UserError: no finished run, one given twice, or runs that cannot be compared; it says what differs.
    """
    if len(runs) < 2:
        raise UserError(f"{len(runs)} runs were given; to compare, give the folders of at least two.")
    found = _load(runs)
    for other in found[1:]:
        _check_same_images(found[0], other)
    images = found[0].test_images
    comparison = Comparison(tuple(sorted(images)), sum(images.values()), tuple(_rows(found)), tuple(_notes(found)))
    if output is not None:
        _write(comparison, output)
    return comparison


def print_comparison(comparison: Comparison) -> None:
    """Print the table, and below it what differs between the runs beside their method."""
    console = Terminal()
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("method", overflow="fold", min_width=12)
    for heading, _, _ in MEASURES.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in comparison.rows:
        table.add_row(escape(printable(_named(row))), *[_cell(name, row.measures[name]) for name in MEASURES])
    console.print(table)
    several = " Mean ± standard deviation over the runs." if any(len(row.runs) > 1 for row in comparison.rows) else ""
    count = len(comparison.classes)
    say(f"{count} classes, {comparison.test_images} test images; chance is {decimals(100 / count, 1)} %.{several}")
    for note in comparison.notes:
        say(f"note: {note}")


def comparison_figure(comparison: Comparison) -> "Figure":
    """Mean class recall against the number of classes seen, a curve for each row; several runs with their deviation."""
    from dynammo.runs.curves import Curve, chance, curve_figure  # late: a refusal needs no drawing

    curves = [
        Curve(
            _named(row),
            row.classes_seen,
            [_number(spread.mean) for spread in row.recalls],
            [_number(spread.deviation) for spread in row.recalls] if len(row.runs) > 1 else (),
        )
        for row in comparison.rows
    ]
    steps = [count for row in comparison.rows for count in row.classes_seen]
    return curve_figure("Mean class recall of all classes seen so far", "mean class recall", [*curves, chance(steps)])


def _load(paths: Sequence[Path]) -> list[_Run]:
    places, records = [], []
    for path in paths:
        located = locate_model(expanded(path))
        if located is None:
            raise UserError(f"there is no finished run in {path}; give folders of runs (dynammo models lists them).")
        kind, weights = located
        place = weights if kind == "torchscript" else weights.parent.parent if kind == "bundle" else weights.parent
        if place.resolve() in places:
            raise UserError(f"{path} is given twice; give each run once.")
        record = read_record(kind, weights)
        check_finished(record, str(path), None if kind == "torchscript" else weights.parent)
        check_tasks(record, str(path), ("method", "tasks", "tasks_learnt", "results", "metrics"))
        places.append(place.resolve())
        records.append(record)
    runs = [_Run(name, record) for name, record in zip(_short_names(places), records, strict=True)]
    for run in runs:
        if not sum(run.test_images.values()):
            raise UserError(f"{run.name} was tested on no image; give runs that were trained with test images.")
    return runs


def _short_names(places: Sequence[Path]) -> list[str]:
    """As much of the end of each path as tells it from the others."""
    for length in range(1, max(len(place.parts) for place in places) + 1):
        names = ["/".join(place.parts[-length:]) for place in places]
        if len(set(names)) == len(names):
            break
    return names


def _check_same_images(one: _Run, other: _Run) -> None:
    mine, others = one.test_images, other.test_images
    pair = f"{one.name} and {other.name}"
    ending = "compare runs on the same data."
    alone = [
        f"only {run.name} has {_some(known - lacking)}"
        for run, known, lacking in ((one, mine.keys(), others.keys()), (other, others.keys(), mine.keys()))
        if known - lacking
    ]
    if alone:
        raise UserError(f"{pair} know other classes ({'; '.join(alone)}); {ending}")
    counts = [f"{name} {mine[name]} and {others[name]}" for name in sorted(mine) if mine[name] != others[name]]
    if counts:
        raise UserError(f"{pair} were tested on other numbers of images ({_some(counts)}); {ending}")
    digests = {run.record.get("test_images") for run in (one, other)}
    if None not in digests and len(digests) > 1:
        raise UserError(f"{pair} were tested on other images, whose names or sizes differ; {ending}")


def _some(names: Iterable[str]) -> str:
    first = sorted(names)
    return ", ".join(first[:3]) + (f" and {len(first) - 3} more" if len(first) > 3 else "")


def _rows(runs: Sequence[_Run]) -> list[Row]:
    groups: dict[str, list[_Run]] = {}
    for run in runs:
        key = json.dumps([run.method, run.sizes, run.settings], sort_keys=True, default=str)
        groups.setdefault(key, []).append(run)
    repeats: list[list[_Run]] = []
    for group in groups.values():
        seeds = {run.record.get("seed") for run in group}
        repeats += [group] if len(seeds) == len(group) and None not in seeds else [[run] for run in group]
    repeats.sort(key=lambda group: runs.index(group[0]))
    methods = Counter(group[0].method for group in repeats)
    folders = [", ".join(run.name for run in group) for group in repeats]
    names = [g[0].method if methods[g[0].method] == 1 else f for g, f in zip(repeats, folders, strict=True)]
    if len(set(names)) < len(names):  # a folder that is called like a method
        names = folders
    return [_row(name, group) for name, group in zip(names, repeats, strict=True)]


def _row(name: str, group: Sequence[_Run]) -> Row:
    records = [run.record for run in group]
    recalls = zip(*[[result["mean_class_recall"] for result in record["results"]] for record in records], strict=True)
    return Row(
        name,
        group[0].method,
        tuple(run.name for run in group),
        tuple(record.get("seed") for record in records),
        tuple(accumulate(group[0].sizes)),
        tuple(_spread(values) for values in recalls),
        {measure: _spread([_measured(record, measure) for record in records]) for measure in MEASURES},
    )


def _measured(record: Record, measure: str) -> float | None:
    cost = record.get("cost", {})
    if measure == "cost_ratio":
        image, backbone = cost.get("gmac_per_image"), cost.get("gmac_backbone")
        return image / backbone if image is not None and backbone else None
    return cost[measure] if measure in cost else (record.get("metrics") or {}).get(measure)


def _spread(values: Sequence[float | None]) -> Spread:
    known = [value for value in values if value is not None]
    if len(known) < len(values):  # a mean over some of the runs would not say which
        return Spread(None, None)
    return Spread(statistics.mean(known), statistics.stdev(known) if len(known) > 1 else None)


def _notes(runs: Sequence[_Run]) -> Iterable[str]:
    """What differs between the runs beside their method, and what is not known to be the same."""
    first = runs[0]
    tested = measured(first.record)
    if tested.whole is None:
        yield f"recall is that of {tested.classes} of {tested.of} classes, of which there are test images."
    ordered = [run.name for run in runs if run.record["classes"] != first.record["classes"]]
    if ordered:
        yield f"{', '.join(ordered)} learnt the classes in another order than {first.name}."
    if any(run.sizes != first.sizes for run in runs):
        cuts = "; ".join(f"{run.name}: {', '.join(map(str, run.sizes))}" for run in runs)
        yield f"the classes were learnt in other tasks ({cuts}), so average recall and forgetting do not compare."
    if any(run.record.get("test_images") is None for run in runs):
        yield "not all records say which test images were used; their numbers are the same in every class."
    for setting in COMMON:
        known = {run.name: str(run.settings[setting]) for run in runs if setting in run.settings}
        if len(set(known.values())) > 1:
            yield f"the runs differ in {setting} ({'; '.join(f'{name}: {value}' for name, value in known.items())})."
    if any(setting not in run.settings for run in runs for setting in COMMON):
        yield "not all records say how images were prepared, or on which backbone."
    for method in dict.fromkeys(run.method for run in runs):
        yield from _notes_on_method([run for run in runs if run.method == method])
    machines = {(run.record.get("machine"), run.record.get("device")) for run in runs}
    if len(machines) > 1:
        yield "learning times were not taken on the same machine."


def _notes_on_method(runs: Sequence[_Run]) -> Iterable[str]:
    """In which settings runs of the same method differ."""
    known = [run.settings for run in runs]
    names = sorted({name for settings in known for name in settings} - {*COMMON})
    differ = [name for name in names if any(settings.get(name) != known[0].get(name) for settings in known)]
    if differ:
        yield f"{', '.join(run.name for run in runs)} are all {runs[0].method} and differ in {', '.join(differ)}."


def _named(row: Row) -> str:
    return f"{row.name} ({len(row.runs)} seeds)" if len(row.runs) > 1 else row.name


def _cell(measure: str, spread: Spread) -> str:
    _, factor, digits = MEASURES[measure]
    mean = decimals(None if spread.mean is None else factor * spread.mean, digits)
    if not spread.deviation:  # images kept do not vary
        return mean
    return f"{mean}\n± {decimals(factor * spread.deviation, digits)}"


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _write(comparison: Comparison, output: Path) -> None:
    # late: a refusal needs neither torch nor drawing
    from dynammo.runs.plots import save_figure
    from dynammo.runtime.files import prepare_output_dir, write_atomically, write_json

    folder = prepare_output_dir(output)
    image = io.BytesIO()
    save_figure(comparison_figure(comparison), image)
    write_atomically(folder / "comparison.png", lambda file: file.write(image.getvalue()))
    table = [_line(row) for row in comparison.rows]
    write_atomically(folder / "comparison.csv", lambda file: file.write(csv_bytes(list(table[0]), table)))
    write_json(folder / "comparison.json", asdict(comparison))


def _line(row: Row) -> dict[str, Any]:
    """A row of the CSV file, in the units of `run.json`: shares of 1, seconds, bytes."""
    line: dict[str, Any] = {"name": row.name, "method": row.method, "runs": len(row.runs)}
    for name, spread in row.measures.items():
        line |= {name: rounded(spread.mean, DIGITS), f"{name}_deviation": rounded(spread.deviation, DIGITS)}
    return line
