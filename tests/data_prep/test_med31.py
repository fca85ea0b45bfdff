import csv
from pathlib import Path

from synthetic.datasets import shared
from typer.testing import CliRunner

from data_prep.med31 import app
from dynammo.data.images import ImageSet


def write_sets(folder: Path) -> None:
    for name in ("derm8", "path11", "radio12"):
        (folder / name).mkdir(parents=True)
        lines = [
            "path,class,split,group,source",
            f"train/a/1.png,{name}_a,train,p1,x",
            f"test/a/2.png,{name}_a,test,,x",
        ]
        (folder / name / "manifest.csv").write_text("\n".join(lines))


def test_the_sets_come_together(tmp_path: Path) -> None:
    write_sets(tmp_path / "data")
    result = CliRunner().invoke(app, ["--data", str(tmp_path / "data"), "-o", str(tmp_path / "lists" / "all.csv")])
    assert result.exit_code == 0 and "6 images of 3 classes" in result.output
    rows = list(csv.DictReader((tmp_path / "lists" / "all.csv").open()))
    assert rows[0] == {"path": "derm8/train/a/1.png", "label": "derm8_a", "split": "train", "group": "derm8/p1"}
    assert rows[1]["group"] == "" and len({row["group"] for row in rows}) == 4


def test_a_missing_set_is_named(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--data", str(tmp_path), "-o", str(tmp_path / "all.csv")])
    assert result.exit_code == 1 and "derm8/manifest.csv; give --data" in result.output
    assert not (tmp_path / "all.csv").exists()


def test_the_real_list_is_one_the_bundle_takes(tmp_path: Path) -> None:
    data, file = shared("data"), tmp_path / "med31.csv"
    assert CliRunner().invoke(app, ["--data", str(data), "-o", str(file)]).exit_code == 0
    with file.open() as stream:
        labels = {row["label"] for row in csv.DictReader(stream)}
    assert len(labels) == 31
    few = file.read_text().splitlines()
    kept, seen = few[:1], {}
    for line in few[1:]:
        key = tuple(line.split(",")[1:3])
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == 1:
            kept.append(line)
    file.write_text("\n".join(kept))
    assert len(ImageSet(data, file).classes) == 31
