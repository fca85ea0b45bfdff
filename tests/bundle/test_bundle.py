"""The bundle as its users run it: every shipped config, in process, on tiny data."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch
import yaml
from conftest import Trained
from synthetic.datasets import CLASSES, ROOT, TINY, make_data, run_bundle, shared

from dynammo.errors import UserError
from dynammo.runs.load import load_model
from dynammo.runtime.files import load_state

TRAIN, INFERENCE, EVALUATE = (f"bundle/configs/{name}.yaml" for name in ("train", "inference", "evaluate"))
PREPROCESSING = "bundle/configs/preprocessing.yaml"
METHODS = ("dynammo", "acl", "finetune", "joint", "analytic", "light")
pytestmark = pytest.mark.usefixtures("in_root")


def record_of(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "run.json").read_text())
    return record


@pytest.mark.parametrize("method", METHODS)
def test_a_training_leaves_all_its_files(trained: Trained, method: str) -> None:
    run = trained(method)
    record = record_of(run)
    assert record["method"] == method
    assert record["classes"] == sorted(CLASSES)
    assert [len(task) for task in record["tasks"]] == [2, 2]
    assert set(record["metrics"]) == {
        "average_incremental_accuracy", "last_accuracy", "average_mean_class_recall", "last_mean_class_recall",
        "forgetting", "backward_transfer",
    }  # fmt: skip
    assert all(value is None or -1 <= value <= 1 for value in record["metrics"].values())
    assert set(record["cost"]) == {
        "gmac_per_image", "gmac_backbone", "parameters", "state_bytes", "images_kept", "train_seconds"
    }  # fmt: skip
    assert {"seed", "versions", "device", "config", "files", "commit", "command"} <= set(record)
    rows = list(csv.reader((run / "accuracy_matrix.csv").open()))
    assert [len(row) for row in rows] == [3, 3, 3] and rows[1][2] == ""
    figures = [f"{name}.png" for name in ("accuracy_matrix", "accuracy_curve", "class_recall", "confusion")]
    for name in ("model.pt", "checkpoint.pt", *figures):
        assert (run / name).stat().st_size > 0
    state = load_state(run / "model.pt")
    assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_mlflow_is_logged_unless_turned_off(trained: Trained) -> None:
    assert (trained("dynammo").parent / "mlruns.db").is_file()
    assert not (trained("joint").parent / "mlruns.db").exists()


@pytest.mark.parametrize("method", METHODS)
def test_the_backbone_stays_as_the_first_task_left_it(trained: Trained, method: str, tmp_path: Path) -> None:
    run_bundle(
        "training",
        [TRAIN, f"configs/methods/{method}.yaml"],
        dataset_dir=str(_first_task_only(trained, tmp_path)),
        output_dir=str(tmp_path / "first"),
        increments=[2],
        mlflow=False,
        **TINY,
        **({"exemplars": 8} if method in ("dynammo", "acl") else {}),
    )
    assert record_of(tmp_path / "first")["classes"] == record_of(trained(method))["classes"][:2]
    first, last = load_state(tmp_path / "first" / "model.pt"), load_state(trained(method) / "model.pt")
    backbone = [name for name in first if name.startswith("backbone.")]
    assert backbone and all(torch.equal(first[name], last[name]) for name in backbone)


def _first_task_only(trained: Trained, folder: Path) -> Path:
    """The data of the trained runs without the classes of the second task."""
    data = make_data(folder / "data")
    for split in ("train", "test"):
        for name in sorted(CLASSES)[2:]:
            for file in (data / split / name).iterdir():
                file.unlink()
            (data / split / name).rmdir()
    return data


def test_memory_and_cost_are_what_the_methods_promise(trained: Trained) -> None:
    cost = {method: record_of(trained(method))["cost"] for method in METHODS}
    assert {method: cost[method]["images_kept"] for method in METHODS} == {
        "dynammo": 8, "acl": 8, "finetune": 0, "joint": 24, "analytic": 0, "light": 0
    }  # fmt: skip
    for method in ("analytic", "light"):
        assert round(cost[method]["gmac_per_image"] / cost[method]["gmac_backbone"], 2) == 1.00
    assert cost["acl"]["gmac_per_image"] > 1.5 * cost["dynammo"]["gmac_per_image"]
    assert cost["dynammo"]["gmac_per_image"] == pytest.approx(cost["finetune"]["gmac_per_image"], rel=1e-3)
    assert cost["dynammo"]["state_bytes"] < cost["acl"]["state_bytes"] * 1.5


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("strategy", ["fisher", "ties"])
def test_other_strategies_and_recalibration_run(tiny_data: Path, tmp_path: Path, strategy: str) -> None:
    run_bundle(
        "training", TRAIN, dataset_dir=str(tiny_data), output_dir=str(tmp_path), merge_strategy=strategy,
        mlflow=False, merge_batchnorm="recalibrate", head_copies=1, exemplars=4, **TINY,
    )  # fmt: skip
    record = record_of(tmp_path)
    assert record["config"]["merge_strategy"] == strategy and record["network"]["branches"] == 1
    assert all(torch.isfinite(value).all() for value in load_state(tmp_path / "model.pt").values())


def test_the_same_seed_gives_the_same_model(trained: Trained, tiny_data: Path, tmp_path: Path) -> None:
    run_bundle(
        "training", TRAIN, dataset_dir=str(tiny_data), output_dir=str(tmp_path), exemplars=8, mlflow=False, **TINY
    )
    first, second = load_state(trained("dynammo") / "model.pt"), load_state(tmp_path / "model.pt")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.usefixtures("no_plots")
def test_a_second_training_keeps_the_first(tiny_data: Path, tmp_path: Path) -> None:
    """From a data list with patients, by fine-tuning, twice into one folder."""
    files = sorted((tiny_data / "train").rglob("*.png"))
    rows = [f"{file.relative_to(tiny_data)},{file.parent.name},patient {i // 2}" for i, file in enumerate(files)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,group", *rows]))
    for seed in (1, 2):
        run_bundle(
            "training",
            [TRAIN, "configs/methods/finetune.yaml"],
            dataset_dir=str(tiny_data),
            data_list=str(tmp_path / "list.csv"),
            output_dir=str(tmp_path / "run"),
            **{"seed": seed, "fresh": seed == 2, "mlflow": False, **TINY},
        )
    (earlier,) = (tmp_path / "run" / "earlier").iterdir()
    assert (record_of(earlier)["seed"], record_of(tmp_path / "run")["seed"]) == (1, 2)
    assert (earlier / "model.pt").read_bytes() != (tmp_path / "run" / "model.pt").read_bytes()


def test_inference_writes_a_row_for_every_image(trained: Trained, tiny_data: Path, tmp_path: Path) -> None:
    run_bundle(
        "inference", INFERENCE, dataset_dir=str(tiny_data / "test"), model_dir=str(trained("dynammo")),
        output_dir=str(tmp_path / "out"),
    )  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "out" / "predictions.csv").open()))
    assert len(rows) == 12 and rows[0]["path"] == "blue/blue_0.png"
    for row in rows:
        shares = [float(row[f"p_{name}"]) for name in sorted(CLASSES)]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert float(row["probability"]) == max(shares)
        assert sorted(CLASSES)[shares.index(max(shares))] == row["predicted_class"]
    assert len(json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]) == 12


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_of_a_run_equals_its_record(trained: Trained, tiny_data: Path, tmp_path: Path, method: str) -> None:
    run_bundle(
        "evaluate", [INFERENCE, EVALUATE], dataset_dir=str(tiny_data), model_dir=str(trained(method)),
        output_dir=str(tmp_path),
    )  # fmt: skip
    measured, recorded = (
        json.loads((tmp_path / "evaluation.json").read_text()),
        record_of(trained(method))["results"][-1],
    )
    assert measured["confusion"] == recorded["confusion"]
    assert measured["accuracy"] == pytest.approx(recorded["accuracy"])
    assert measured["ece"] == pytest.approx(recorded["ece"], abs=1e-4)


def test_preprocessing_of_training_and_inference_is_the_same() -> None:
    train, inference, shared = (yaml.safe_load(Path(path).read_text()) for path in (TRAIN, INFERENCE, PREPROCESSING))
    for part in ("preprocessing", "recipe"):
        assert train[part] == inference[part]
    for part in ("loading", "preparation", "grey_scalers", "stain_normaliser"):  # stands once
        assert part in shared and part not in train and part not in inference
    for name in train["recipe"]:  # every setting of a recipe is taken from the record of the run
        assert inference[name] == f"$@record['config']['recipe']['{name}']"
    assert all(step["_target_"].startswith("Rand") for step in train["augmentation"]["transforms"])


def test_inference_transforms_come_from_monai_alone() -> None:
    config = yaml.safe_load(Path(INFERENCE).read_text()) | yaml.safe_load(Path(PREPROCESSING).read_text())
    for part in ("preparation", "grey_scalers", "stain_normaliser", "inferer", "postprocessing", "evaluator"):
        assert "dynammo" not in yaml.safe_dump(config[part])


@pytest.mark.parametrize(
    ("kind", "configs"), [("train", TRAIN), ("infer", INFERENCE), ("infer", [INFERENCE, EVALUATE])]
)
def test_the_bundle_has_every_required_property(
    trained: Trained, tiny_data: Path, tmp_path: Path, kind: str, configs: str
) -> None:
    overrides: dict[str, Any] = {"dataset_dir": str(tiny_data), "output_dir": str(tmp_path)}
    overrides |= TINY if kind == "train" else {"model_dir": str(trained("dynammo"))}
    workflow = monai.bundle.ConfigWorkflow(configs, workflow_type=kind, **overrides)
    workflow.initialize()
    assert workflow.check_properties() == []


def test_metadata_fits_the_schema(tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_bytes(shared("monai", "meta_schema_20240725.json").read_bytes())
    monai.bundle.verify_metadata(meta_file="bundle/configs/metadata.json", filepath=str(schema))
    metadata = json.loads(Path("bundle/configs/metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]


@pytest.mark.parametrize("config", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("configs/*/*.yaml")))
def test_overlays_are_short_and_change_what_exists(config: str) -> None:
    text = Path(config).read_text()
    assert len([line for line in text.splitlines() if line.strip()]) <= 20
    assert set(yaml.safe_load(text)) <= set(yaml.safe_load(Path(TRAIN).read_text()))


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("config", sorted(path.name for path in (ROOT / "configs" / "datasets").glob("*.yaml")))
def test_dataset_overlays_run(config: str, tmp_path: Path) -> None:
    overlay = yaml.safe_load((ROOT / "configs" / "datasets" / config).read_text())
    increments = overlay.get("increments", 2)
    named = isinstance(increments, list)
    if named and isinstance(increments[0], int):
        names = iter(f"class {i:02}" for i in range(sum(increments)))
        groups = [[next(names) for _ in range(size)] for size in increments]
    else:
        groups = increments
    data = _named(tmp_path / "data", groups) if named else make_data(tmp_path / "data", 4, 1)
    run_bundle(
        "training", [TRAIN, f"configs/datasets/{config}"], dataset_dir=str(data), output_dir=str(tmp_path / "run"),
        weights="first_task", stages=1, image_size=16, epochs=1, head_epochs=1, mlflow=False,
        **({"data_list": str(_listed(data))} if "data_list" in overlay else {}), **({} if named else {"increments": 2}),
    )  # fmt: skip
    assert record_of(tmp_path / "run")["tasks_learnt"] == (len(increments) if named else 2)


def _listed(data: Path) -> Path:
    """A data list of class folders."""
    files = [file for split in ("train", "test") for file in sorted((data / split).rglob("*.png"))]
    rows = [f"{file.relative_to(data)},{file.parent.name},{file.parent.parent.name}" for file in files]
    (data / "list.csv").write_text("\n".join(["path,label,split", *rows]))
    return data / "list.csv"


def _named(folder: Path, groups: list[list[str]]) -> Path:
    """The four colours under other class names."""
    made = make_data(folder / "colours", 2, 1)
    for i, name in enumerate(name for group in groups for name in group):
        for split in ("train", "test"):
            source = made / split / CLASSES[i % 4]
            (folder / split / name).mkdir(parents=True)
            for file in source.iterdir():
                (folder / split / name / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.mark.usefixtures("no_plots")
def test_real_images_and_weights(tmp_path: Path) -> None:
    """A few images of derm8 by a data list, on ImageNet weights, which stay as they are."""
    data, weights = shared("data", "derm8"), shared("weights", "resnet18_imagenet1k_to_layer3.pth")
    rows = ["path,label,split,group"]
    with (data / "manifest.csv").open() as file:
        for row in csv.DictReader(file):
            if sum(f",{row['class']},{row['split']}," in line for line in rows) < 4:
                rows.append(f"{row['path']},{row['class']},{row['split']},{row['group']}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    run_bundle(
        "training",
        [TRAIN, "configs/datasets/derm8.yaml"],
        dataset_dir=str(data),
        data_list=str(tmp_path / "list.csv"),
        weights=str(weights),
        output_dir=str(tmp_path / "run"),
        image_size=48,
        epochs=1,
        head_epochs=5,
        mlflow=False,
    )
    trained, given = load_state(tmp_path / "run" / "model.pt"), load_state(weights)
    assert record_of(tmp_path / "run")["tasks"][1] == ["MEL", "NV"]
    assert torch.equal(trained["backbone.stem.0.weight"], given["conv1.weight"])
    assert torch.equal(trained["backbone.layers.2.1.bn2.bias"], given["layer3.1.bn2.bias"])
    assert torch.equal(trained["backbone.layers.2.1.bn2.running_mean"], given["layer3.1.bn2.running_mean"])


def test_torchscript_of_a_trained_run_agrees(trained: Trained) -> None:
    classifier, images = load_model(trained("acl")).network, torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(torch.jit.script(classifier)(images), classifier(images), atol=1e-5, rtol=0)


def test_a_swapped_model_file_is_refused(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_bytes((trained("dynammo") / "run.json").read_bytes())
    with pytest.raises(UserError, match=r"is not a trained model"):
        load_model(tmp_path)
    (tmp_path / "model.pt").write_bytes((trained("acl") / "model.pt").read_bytes())
    with pytest.raises(UserError, match=r"not the file that run\.json describes"):
        load_model(tmp_path)
    (tmp_path / "model.pt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(UserError, match="damaged or not a model"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"dataset_dir": "nowhere"}, "there is no folder nowhere; give --dataset_dir"),
        ({"increments": [3, 3]}, "sum to 6, but the data has 4 classes"),
        ({"weights": "nowhere.pth"}, "there is no weights file nowhere.pth"),
        ({"merge_strategy": "mean"}, "merge_strategy is 'mean'; expected one of average"),
        ({"exemplars": 3}, "less than one image for each of 4 classes"),
        ({"image_size": 8}, "image_size 8 leaves 2 pixels"),
    ],
)
def test_mistakes_end_in_a_sentence_before_training(
    tiny_data: Path, tmp_path: Path, overrides: dict[str, Any], sentence: str
) -> None:
    settings = {
        "dataset_dir": str(tiny_data),
        "output_dir": str(tmp_path / "out"),
        **TINY,
        "mlflow": False,
        **overrides,
    }
    with pytest.raises(Exception) as caught:
        run_bundle("training", TRAIN, **settings)
    error: BaseException | None = caught.value
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    assert error is not None and sentence in str(error)
    assert not (tmp_path / "out" / "model.pt").exists()


def test_the_command_prints_a_sentence_and_no_traceback(tiny_data: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", "training", "--config_file", TRAIN, "--output_dir",
         str(tmp_path / "run"), "--dataset_dir", str(tiny_data), "--exemplar", "40"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error: --exemplar is not an option of this bundle; did you mean --exemplars" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "run").exists()


def test_an_output_folder_that_cannot_be_written(tiny_data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RuntimeError) as caught:
        run_bundle("training", TRAIN, dataset_dir=str(tiny_data), output_dir=str(tmp_path / "file"), **TINY)
    assert "cannot be written" in str(caught.value.__cause__)
