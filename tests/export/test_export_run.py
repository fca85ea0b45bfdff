"""What `dynammo export` writes passes the model zoo's checks, and works where dynammo is not installed."""

import csv
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch
from synthetic.datasets import CLASSES, make_data, run_bundle, shared
from synthetic.images import dicom, save
from synthetic.records import RECIPE_VALUES, RECORD, edit, export, write_run

from dynammo.cli import main
from dynammo.errors import UserError
from dynammo.export import agreement as export_checks
from dynammo.export import export_run as model_export
from dynammo.export.export_run import Exported, ExportSettings, export_run
from dynammo.inference.onnx import onnx_outputs
from dynammo.runs.load import load_model
from dynammo.runs.record import embedded_record
from dynammo.runtime.files import save_state, sha256
from dynammo.runtime.plain import percent_or_words

Trained = Callable[..., Path]
INFERENCE, EVALUATE = "configs/inference.yaml", "configs/evaluate.yaml"


@pytest.fixture(scope="module")
def exported(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The bundle of a tiny run."""
    to = tmp_path_factory.mktemp("dist") / "dynammo_colours_classification"
    return export_run(trained("analytic"), to, ExportSettings(intended_use="Tests alone."))


@pytest.fixture
def bundle(exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to be tampered with, as working directory."""
    folder = tmp_path / exported.bundle.name
    shutil.copytree(exported.bundle, folder)
    monkeypatch.chdir(folder)
    return folder


def metadata_of(bundle: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((bundle / "configs" / "metadata.json").read_text())
    return content


def test_every_file_of_a_bundle_is_there_and_in_the_zip(exported: Exported, tmp_path: Path) -> None:
    files = {path.relative_to(exported.bundle).as_posix() for path in exported.bundle.rglob("*") if path.is_file()}
    assert files == {
        "LICENSE", "configs/metadata.json", "configs/inference.yaml", "configs/evaluate.yaml", "configs/logging.conf",
        "docs/README.md", "docs/data_license.txt", "models/model.pt", "models/model.ts", "models/model.onnx",
        "models/learning.pt", "models/run.json",
    }  # fmt: skip
    with zipfile.ZipFile(exported.archive) as archive:
        assert {name for name in archive.namelist() if not name.endswith("/")} == {
            f"{exported.bundle.name}/{file}" for file in files
        }
        archive.extractall(tmp_path)
    assert load_model(tmp_path / exported.bundle.name).record["classes"] == list(CLASSES)


def test_metadata_fits_the_schema_and_describes_the_run(bundle: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_bytes(shared("monai", "meta_schema_20240725.json").read_bytes())
    monai.bundle.verify_metadata(meta_file="configs/metadata.json", filepath=str(schema))
    about = json.loads((bundle / "configs" / "metadata.json").read_text())
    record = json.loads((bundle / "models" / "run.json").read_text())
    assert about["version"] == list(about["changelog"])[-1]
    assert [text.split(":")[0] for text in about["changelog"].values()] == ["task 1", "task 2"]
    named = list(about["network_data_format"]["outputs"]["pred"]["channel_def"].values())
    assert named == [*record["classes"], "unknown"]
    assert about["intended_use"] == "Tests alone."
    assert set(about["eval_metrics"]["recall"]) == set(CLASSES)
    assert about["eval_metrics"]["mean_class_recall"] == pytest.approx(
        record["results"][-1]["mean_class_recall"], abs=1e-4
    )


def test_the_card_says_what_the_model_does_and_how_well(bundle: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text()
    for name in CLASSES:
        assert f"| {name} |" in card
    assert "Tests alone." in card and "licence" in (bundle / "docs" / "data_license.txt").read_text()


@pytest.mark.parametrize("configs", [INFERENCE, [INFERENCE, EVALUATE]])
def test_required_properties_are_there(bundle: Path, tiny_data: Path, configs: str | list[str]) -> None:
    workflow = monai.bundle.ConfigWorkflow(configs, workflow_type="infer", dataset_dir=str(tiny_data / "test"))
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_network_takes_and_gives_what_the_metadata_say(bundle: Path) -> None:
    monai.bundle.verify_net_in_out(
        net_id="network_def", meta_file="configs/metadata.json", config_file=INFERENCE, n=1, any=1
    )


@pytest.mark.parametrize("of_training", [False, True])
def test_ckpt_export_gives_the_same_network(
    bundle: Path, trained: Trained, tmp_path: Path, of_training: bool, in_root: Path
) -> None:
    config = "bundle/configs/inference.yaml" if of_training else str(bundle / INFERENCE)
    monai.bundle.ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "again.ts"),
        ckpt_file=str(bundle / "models" / "model.pt"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=config,
        **({"model_dir": str(trained("analytic"))} if of_training else {"bundle_root": str(bundle)}),
    )
    images = torch.randn(2, 3, 32, 32)
    again, own = torch.jit.load(tmp_path / "again.ts"), load_model(trained("analytic")).network
    torch.testing.assert_close(again(images), own(images), atol=1e-5, rtol=0)


def test_inference_equals_that_of_the_run(bundle: Path, trained: Trained, tiny_data: Path, tmp_path: Path) -> None:
    run_bundle("inference", INFERENCE, dataset_dir=str(tiny_data / "test"), output_dir=str(tmp_path / "out"))
    with (tmp_path / "out" / "predictions.csv").open() as file:
        rows = {Path(row.pop("path")).name: row for row in csv.DictReader(file)}
    assert len(rows) == 12
    model = load_model(trained("analytic"))
    run_bundle(
        "inference", str(Path(__file__).parents[2] / "bundle" / "configs" / "inference.yaml"),
        dataset_dir=str(tiny_data / "test"), model_dir=str(trained("analytic")), output_dir=str(tmp_path / "own"),
    )  # fmt: skip
    for item in json.loads((tmp_path / "own" / "predictions.json").read_text())["images"]:
        row = rows[Path(item["path"]).name]
        for name in model.record["classes"]:
            assert float(row[f"p_{name}"]) == float(row[name]) == pytest.approx(item[f"p_{name}"], abs=1e-5)
        assert float(row["unknown"]) == pytest.approx(item["unknown"], abs=1e-5)


def test_evaluation_measures_what_the_training_did(bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    run_bundle("evaluate", [INFERENCE, EVALUATE], dataset_dir=str(tiny_data / "test"), output_dir=str(tmp_path / "out"))
    measured = json.loads((tmp_path / "out" / "evaluation.json").read_text())["mean_class_recall"]
    assert measured == pytest.approx(
        json.loads((bundle / "models" / "run.json").read_text())["results"][-1]["mean_class_recall"]
    )


def test_torchscript_carries_metadata_config_and_record(bundle: Path) -> None:
    inside = {"metadata.json": "", "inference.json": "", "run.json": ""}
    torch.jit.load(bundle / "models" / "model.ts", _extra_files=inside)
    assert json.loads(inside["metadata.json"])["version"] == metadata_of(bundle)["version"]
    assert json.loads(inside["run.json"])["classes"] == ["blue", "green", "red", "white"]
    assert "green" not in inside["inference.json"].decode()  # MONAI would evaluate names there


def test_onnx_runtime_gives_the_same(bundle: Path, trained: Trained) -> None:
    images = torch.rand(3, 3, 32, 32)
    expected = load_model(trained("analytic")).network(images)
    torch.testing.assert_close(onnx_outputs(bundle / "models" / "model.onnx", images), expected, atol=1e-4, rtol=0)


def test_a_tampered_model_is_refused(bundle: Path, tiny_data: Path, tmp_path: Path) -> None:
    with (bundle / "models" / "model.ts").open("ab") as file:
        file.write(b"x")
    with pytest.raises(Exception, match="sha256 differs") as refusal:
        run_bundle("inference", INFERENCE, dataset_dir=str(tiny_data / "test"), output_dir=str(tmp_path / "out"))
    assert isinstance(refusal.value, RuntimeError | ValueError)


def test_every_export_of_other_weights_is_another_version(trained: Trained, tmp_path: Path) -> None:
    to, plain = tmp_path / "again_classification", ExportSettings(onnx=False)
    first = export_run(trained("analytic"), to)
    (to / "notes.txt").write_text("ours")
    assert export_run(trained("analytic"), to, plain).version == first.version == "0.2.0"
    assert not (to / "models" / "model.onnx").exists()  # nothing stale beside what was written now
    second = export_run(trained("light"), to, plain)
    assert second.version == "0.3.0"
    assert list(metadata_of(to)["changelog"].values())[-1].startswith("other weights")  # type: ignore[attr-defined]
    assert load_model(to / "models" / "model.ts").record["method"] == "light"
    assert (to / "notes.txt").read_text() == "ours"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again_classification", "again_classification.zip"]


def test_images_that_monai_alone_reads_otherwise_are_counted(trained: Trained, tmp_path: Path) -> None:
    images = tmp_path / "images"
    make_data(images, 1, 1)
    entries = [256, 0, 8]
    palette = dicom(
        torch.randint(256, (8, 8)).byte().numpy(), PhotometricInterpretation="PALETTE COLOR",
        **{f"{c}PaletteColorLookupTableDescriptor": entries for c in ("Red", "Green", "Blue")},
        **{f"{c}PaletteColorLookupTableData": bytes(range(256)) for c in ("Red", "Green", "Blue")},
    )  # fmt: skip
    save(palette, images / "palette.dcm")
    done = export_run(trained("analytic"), tmp_path / "out", ExportSettings(images, onnx=False))
    assert (done.agreement.images, done.agreement.misread) == (9, 1)
    assert "use dynammo classify" in str(done)


def test_without_onnx_packages_the_command_says_what_to_type(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    command = ["export", "--model", str(trained("analytic")), "-o", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main(command)
    assert end.value.code == 1
    assert 'pip install "dynammo[onnx]"' in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main([*command, "--no-onnx"])
    assert end.value.code == 0
    assert "real images" in capsys.readouterr().out


def test_a_record_without_its_results_is_refused(trained: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained("analytic"), folder)
    record = json.loads((folder / "run.json").read_text())
    del record["results"]
    (folder / "run.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match="lacks results"):
        export_run(folder, tmp_path / "out")


@pytest.fixture
def run(trained: Trained, tmp_path: Path) -> Path:
    """A copy of a trained run, to be tampered with."""
    folder = tmp_path / "runs" / "tiny"
    folder.mkdir(parents=True)
    for name in ("run.json", "model.pt"):
        shutil.copy(trained() / name, folder)
    return folder


def test_what_is_exported_is_torchscript_for_anyone(run: Path, tmp_path: Path) -> None:
    models = export(run, tmp_path / "out")
    inside = {"run.json": ""}
    script = torch.jit.load(models / "model.ts", _extra_files=inside)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(script(images), load_model(run).network(images), atol=1e-5, rtol=0)
    outer = json.loads((models / "run.json").read_text())
    assert json.loads(inside["run.json"])["classes"] == outer["classes"]
    assert outer["files"] == {name: sha256(models / name) for name in ("model.pt", "model.ts")}


@pytest.mark.parametrize(
    "spec",
    [
        {"heads": [1, 1], "branches": 2},
        {"heads": [2], "others": False, "background": True, "out_of_distribution": 2},
        {"heads": [2], "others": False, "spatial_dims": 3},
        {
            "heads": [2],
            "adapter": "none",
            "pooling": {"taps": [0, 1], "deviation": True, "power": 0.5, "projection": 8},
        },
    ],
    ids=["branches", "background and looks", "volumes", "pooling"],
)
def test_every_layout_of_the_network_can_be_exported(spec: dict[str, Any], tmp_path: Path) -> None:
    from dynammo.networks.merged_classifier import MergedClassifier

    torch.manual_seed(0)
    network = {"stages": 2, **spec}
    dimensions = {"spatial_dims": spec.get("spatial_dims", 2)}
    config = RECORD["config"] | {"recipe": RECIPE_VALUES | dimensions}
    folder = write_run(tmp_path / "run", network=network, config=config)
    made = MergedClassifier(**network).eval()
    made.pooling.draw_projection()
    save_state(folder / "model.pt", made.state_dict())
    edit(folder / "run.json", files={"model.pt": sha256(folder / "model.pt")})
    loaded = load_model(export(folder, tmp_path / "out") / "model.ts").network
    images = torch.randn(2, 3, *[32] * spec.get("spatial_dims", 2))
    torch.testing.assert_close(loaded(images), made(images), atol=1e-5, rtol=0)


def test_an_export_names_no_folder_of_the_images(run: Path, tmp_path: Path) -> None:
    edit(run / "run.json", command="dynammo --dataset_dir /clinic/erika/images")
    record = json.loads((run / "run.json").read_text())
    record["config"]["dataset_dir"] = "/clinic/erika/images"
    (run / "run.json").write_text(json.dumps(record))
    models = export(run, tmp_path / "out")
    for text in ((models / "run.json").read_bytes(), embedded_record(models / "model.ts")):
        assert text is not None
        assert b"erika" not in text
        assert json.loads(text)["config"]["dataset_dir"] == "images"


def test_exporting_again_replaces_all(trained: Trained, run: Path, tmp_path: Path) -> None:
    export(trained("joint"), tmp_path / "out")
    before = load_model(tmp_path / "out" / "models" / "model.ts")
    models = export(run, tmp_path / "out")
    assert load_model(models / "model.ts").record["method"] == "dynammo" != before.record["method"]
    assert sorted(file.name for file in models.iterdir()) == ["model.pt", "model.ts", "run.json"]
    assert export(tmp_path / "out", tmp_path / "out") == models  # onto itself
    assert load_model(models).record["method"] == "dynammo"


def test_a_failed_export_keeps_the_one_before(
    run: Path, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = export(run, tmp_path / "out")
    before = {file.name: sha256(file) for file in models.iterdir()}

    def fill_the_disk(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_export, "write_json", fill_the_disk)
    with pytest.raises(UserError, match="No space left on device"):
        export(run, tmp_path / "out")
    monkeypatch.undo()
    other = load_model(trained("joint"))
    monkeypatch.setattr(export_checks, "load_model", lambda folder: other)
    with pytest.raises(UserError, match="nothing was exported"):
        export(run, tmp_path / "out")
    assert {file.name: sha256(file) for file in models.iterdir()} == before


@pytest.mark.parametrize("method", ["analytic", "acl"])
def test_the_card_claims_nothing_that_the_record_contradicts(trained: Trained, tmp_path: Path, method: str) -> None:
    bundle = tmp_path / f"{method}_classification"
    export_run(trained(method), bundle, ExportSettings(onnx=False))
    card = (bundle / "docs" / "README.md").read_text()
    record = load_model(trained(method)).record
    assert f"best on average: {percent_or_words(record['metrics']['forgetting'])}." in card
    assert "without forgetting" not in card
    assert ("one pass through one network" in card) == (record["network"].get("branches", 1) == 1)
    assert ("adapter" in card) <= (record["config"]["adapter"] != "none")
