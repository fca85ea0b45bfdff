"""What an exported bundle says of itself."""

from synthetic.records import RECORD

from dynammo.export.bundle_metadata import INTENDED_USE, changes, class_recalls, metadata, model_card


def test_a_task_more_is_one_version_more() -> None:
    tasks = [["MEL", "NV"], ["BCC"], ["AK"]]
    results = [{"mean_class_recall": value, "confusion": [[1, 0], [0, 1]]} for value in (0.9, 0.8, 0.7)]
    before = changes({"tasks": tasks, "tasks_learnt": 2, "results": results[:2]})
    assert list(before) == ["0.1.0", "0.2.0"]
    after = changes({"tasks": tasks, "tasks_learnt": 3, "results": results}, before)
    assert after == before | {"0.3.0": "task 3: AK; mean class recall 70.0 % on its test images"}


def test_other_weights_of_the_same_tasks_are_a_version_too() -> None:
    record = {**RECORD, "tasks_learnt": 1}
    first = changes(record)
    again = changes(record, first)
    assert list(again) == ["0.1.0", "0.2.0"] and again["0.2.0"].startswith("other weights for 1 tasks")


def test_metadata_say_what_the_record_does() -> None:
    found = metadata(RECORD, "skin", {"0.1.0": "first", "0.2.0": "second"}, "Tests alone.", modality="dermoscopy")
    assert (found["name"], found["version"], found["intended_use"]) == ("skin", "0.2.0", "Tests alone.")
    assert found["eval_metrics"]["recall"] == {"MEL": 0.75, "NV": 0.75}
    image = found["network_data_format"]["inputs"]["image"]
    assert image["spatial_shape"] == [32, 32] and image["modality"] == "dermoscopy"
    names = found["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert names == {"0": "MEL", "1": "NV", "2": "unknown"}
    assert metadata(RECORD, "skin", {"0.1.0": "first"})["intended_use"] == INTENDED_USE
    described = {**RECORD, "about_classes": {"MEL": {"name": "Melanoma", "mark": "malignant"}}}
    assert metadata(described, "skin", {"0.1.0": "first"})["about_classes"] == described["about_classes"]


def test_a_class_without_test_images_has_no_recall() -> None:
    result = {**RECORD["results"][0], "confusion": [[3, 1], [0, 0]]}
    assert class_recalls({**RECORD, "results": [result]}) == {"MEL": 0.75, "NV": None}


def test_the_card_names_classes_measures_and_files() -> None:
    card = model_card(RECORD, metadata(RECORD, "skin", {"0.1.0": "first"}), {"model.pt": "0" * 64})
    for words in ("MEL", "NV", "75.0 %", "0" * 16 + "...", INTENDED_USE, "weights, a state dict", "set no limit"):
        assert words in card, words
