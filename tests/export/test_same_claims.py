"""Model card, metadata and report say of one run what its record says, and nothing that it contradicts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from synthetic.records import RECORD
from synthetic.report import ITEMS, make_run, picture_of

from dynammo.clinic.report import model_facts, write_report
from dynammo.export.bundle_metadata import metadata, model_card
from dynammo.runs.load import Model

CONFUSION = [[30, 7, 0], [4, 40, 3], [0, 2, 14]]
LAST = {"mean_class_recall": 0.8456, "accuracy": 0.84, "ece": 0.061}
NETWORK = {"heads": [2, 1], "in_channels": 3, "adapter": "conv", "branches": 1}
CONFIG: dict[str, Any] = {**RECORD["config"], "merge_strategy": "average", "head_layout": "separate"}
TRUST = {"temperature": 1.4, "ece_before": 0.0812, "ece_after": 0.0193, "unknown_threshold": 0.62}
RUN = {
    **RECORD,
    "classes": ["MEL", "NV", "BCC"],
    "tasks": [["MEL", "NV"], ["BCC"]],
    "tasks_learnt": 2,
    "network": NETWORK,
    "config": CONFIG,
    "metrics": {"forgetting": 0.0321},
    "results": [RECORD["results"][0], {**LAST, "confusion": CONFUSION}],
    "trust": {**TRUST, "false_alarm_rate": 0.05},
}
PART = {**LAST, "mean_class_recall": 0.7777, "confusion": [[0, 0, 0], [0, 7, 2], [0, 2, 7]]}
NOTHING = {"mean_class_recall": None, "accuracy": None, "ece": None, "confusion": [[0] * 3] * 3}
RUNS: dict[str, dict[str, Any]] = {
    "merged": RUN,
    "analytic": {
        **RUN, "method": "analytic", "network": {**NETWORK, "adapter": "none"},
        "config": {**CONFIG, "head_layout": "analytic", "merge_strategy": "latest"}, "trust": {},
    },
    "apart": {**RUN, "network": {**NETWORK, "branches": 2}, "config": {**CONFIG, "merge_strategy": "none"}},
    "part": {**RUN, "results": [RECORD["results"][0], PART], "trust": {}},
    "nothing": {**RUN, "results": [RECORD["results"][0], NOTHING], "metrics": {}},
    "at once": {**RUN, "tasks": [["MEL", "NV", "BCC"]], "tasks_learnt": 1, "results": [RUN["results"][1]]},
    "volumes": {**RUN, "network": {**NETWORK, "spatial_dims": 3}},
}  # fmt: skip


def report_of(record: dict[str, Any], file: Path) -> str:
    """Everything that the report says in English of the model."""
    model = Model("skin", file, "run", record, None, "ab" * 32)
    write_report(file, make_run(ITEMS, **model_facts(model)), ITEMS, picture_of(ITEMS))
    texts = re.search(r'id="texts">(.*?)</script>', file.read_text(), re.DOTALL)
    assert texts is not None
    return "\n".join(json.loads(texts[1])["page"]["en"])


@pytest.mark.parametrize("kind", RUNS)
def test_card_metadata_and_report_agree_with_the_record(kind: str, tmp_path: Path) -> None:
    record = RUNS[kind]
    about = metadata(record, "skin", {"0.1.0": "first"})
    card = model_card(record, about, {})
    report = report_of(record, tmp_path / "report.html")
    last = record["results"][-1]
    rows = [sum(row) for row in last["confusion"]]
    images, measured = sum(rows), sum(map(bool, rows))

    recall = None if last["mean_class_recall"] is None else f"{100 * last['mean_class_recall']:.1f} %"
    if recall is None:
        assert "nothing was measured" in card and ": it was not measured." in report
        assert about["eval_metrics"]["mean_class_recall"] is None
    else:
        assert f"mean class recall {recall}" in card and recall in report
        assert (
            f"measured on {images} test images of {'all' if measured == 3 else f'{measured} of its'} 3 classes" in card
        )
        assert (f"{measured} of its 3 classes" in report) is (measured < 3)
        assert (about["eval_metrics"]["mean_class_recall"] is None) is (measured < 3)
    assert about["eval_metrics"]["measured"] == {"classes": measured, "images": images}

    forgetting = record["metrics"].get("forgetting")
    said = "not measured" if forgetting is None else f"{100 * forgetting:.1f} %"
    tasks = record["tasks_learnt"]
    assert (f"on average: {said}." in card) is (tasks > 1) and ("learnt at once" in card) is (tasks == 1)
    for text in (about["task"], about["description"]):
        assert ("at once" in text, "in 2 tasks" in text) == (tasks == 1, tasks == 2)

    branches, adapter = record["network"]["branches"], record["network"]["adapter"]
    cost = "one pass" if branches == 1 else f"{branches} passes"
    assert cost in card and cost in about["description"]
    everything = "\n".join([card, json.dumps(about), report]).lower()
    if adapter == "none":
        assert "without adapters" in about["description"]
        assert not re.search(r"(?<!without )adapter|merg", everything)
    assert ("merged into one" in everything) is (branches == 1 and adapter != "none" and tasks > 1)

    calibrated, itself = "Temperature 1.40" in report or "temperature 1.40" in report, "by the head itself" in report
    assert itself is (record["config"]["head_layout"] == "analytic")
    assert calibrated is ("ece_after" in record["trust"] and not itself)
    assert ("set no limit" in card) is ("unknown_threshold" not in record["trust"])
    dimensions = record["network"].get("spatial_dims", 2)
    for text in (card, about["task"], about["image_classes"]):
        assert f"{dimensions}-D" in text
    assert record["method"] in card and record["method"] in report
