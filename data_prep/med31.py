"""Join the three benchmark sets into one data list of 31 classes: ``python -m data_prep.med31 -o runs/med31.csv``."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from dynammo.errors import printable

SETS = ("derm8", "path11", "radio12")
COLUMNS = ("path", "label", "split", "group")

app = typer.Typer(add_completion=False)


class ListError(Exception):
    """A mistake that the user can mend."""


def rows(data: Path) -> Iterator[dict[str, str]]:
    """Rows of the joined list; paths start from `data`, groups are told apart by their set.

    Args:
        data: folder that holds the three sets, each with its `manifest.csv` (path, class, split, group).

    Raises:
        ListError: a set without its manifest.
    """
    for name in SETS:
        manifest = data / name / "manifest.csv"
        if not manifest.is_file():
            raise ListError(f"there is no {manifest}; give --data the folder that holds {', '.join(SETS)}.")
        with manifest.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                group = f"{name}/{row['group']}" if row["group"] else ""
                yield dict(zip(COLUMNS, (f"{name}/{row['path']}", row["class"], row["split"], group), strict=True))


@app.command()
def main(
    output: Annotated[Path, typer.Option("-o", "--output", help="CSV file to write.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder that holds derm8, path11 and radio12; data/ in that of DYNAMMO_SHARED, or in ../shared."
        ),
    ] = None,
) -> None:
    """Write the data list of med31."""
    try:
        found = list(rows(data or Path(os.environ.get("DYNAMMO_SHARED", "../shared"), "data")))
    except ListError as error:
        typer.echo(f"error: {printable(error)}", err=True)
        raise typer.Exit(1) from error
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(found)
    typer.echo(f"{len(found)} images of {len({row['label'] for row in found})} classes: {printable(output)}")


if __name__ == "__main__":
    app()
