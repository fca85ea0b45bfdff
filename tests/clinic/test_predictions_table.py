import csv
import io
from pathlib import Path

from synthetic.report import make_item, make_unreadable

from dynammo.clinic.predictions_table import predictions_csv
from dynammo.io.studies import Study


def test_a_row_for_each_item_with_its_level_and_every_class() -> None:
    items = [make_item("=a.png", ood_score=1.5, flags=["unknown", "low confidence"]), make_unreadable("b.png")]
    items[1]["ood_score"] = None
    rows = list(csv.DictReader(io.StringIO(predictions_csv(items, ["blue", "green", "red", "white"]).decode())))
    assert [row["path"] for row in rows] == ["'=a.png", "b.png"]
    assert (rows[0]["level"], rows[0]["flags"]) == ("check", "unknown; low confidence")
    assert (rows[0]["p_blue"], rows[0]["p_white"], rows[0]["ood_score"]) == ("0.9", "", "1.5")
    assert (rows[1]["level"], rows[1]["reason"], rows[1]["predicted_class"]) == ("do not use", "the file is empty.", "")
    assert "patient_id" not in rows[0]


def test_the_patient_is_asked_for_alone() -> None:
    item = make_item("a.png", ood_score=None)
    table = predictions_csv([item], ["blue"], [Study((Path("a.png"),), "a.png")])
    assert table.decode().splitlines()[0].endswith("p_blue,patient_id")
