"""DynaMMo from Python, through its public door alone."""

import base64
import inspect
import io
import json
import math
import random
import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from conftest import Trained
from PIL import Image
from synthetic.classify import run
from synthetic.datasets import CLASSES, ROOT, TINY, write_image
from synthetic.images import dicom, nifti
from synthetic.runs import without_plots

import dynammo
from dynammo import Model, load, train
from dynammo.errors import UserError

PUBLIC = {
    "compare": "(runs, to, *, verbose)",
    "load": "(path, *, device, batch_size, low_confidence, engine)",
    "train": "(folder, to, *, verbose, **settings)",
    "Model.predict": "(self, images)",
    "Model.evaluate": "(self, folder, *, to, skip_unreadable, verbose)",
    "Model.learn": "(self, folder, to, *, max_drop, test_data, reviews, without_exemplars, skip_unreadable, "
    "overlays, mlflow, verbose)",
    "Model.forget": "(self, *, class_name, task, to, mlflow, verbose)",
    "Model.combine": "(self, other, to, *, same_classes, test_data, mlflow, verbose)",
    "Model.export": "(self, to, *, images, intended_use, data_source, modality, data_license, onnx, verbose)",
    "Prediction.top": "(self, k)",
}
"""The promise: who changes it changes programs of others."""


@pytest.fixture(scope="module")
def model(trained: Trained) -> Model:
    return load(trained("analytic"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One image of each kind, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("images")
    for number, colour in enumerate(CLASSES):
        write_image(folder / f"{colour}.png", colour, number)
    values = np.random.default_rng(0).integers(400, 900, (24, 20)).astype(np.uint16)
    dicom(values, SeriesInstanceUID="1.2.9").save_as(folder / "ct.dcm", enforce_file_format=True)
    nib.save(nifti(np.random.default_rng(1).normal(size=(18, 16, 5)).astype(np.float32)), folder / "volume.nii.gz")
    Image.fromarray(values).save(folder / "deep.png")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut short")
    return folder


@pytest.fixture(scope="module")
def classified(images: Path, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `dynammo classify` leaves of these images."""
    out = tmp_path_factory.mktemp("results")
    assert run(images, out, trained("analytic")) == 3  # one is unreadable
    return out


def items(out: Path) -> dict[str, dict]:
    return {item["path"]: item for item in json.loads((out / "predictions.json").read_text())["items"]}


def signature(function: object) -> str:
    words, starred = [], False
    for parameter in inspect.signature(function).parameters.values():  # type: ignore[arg-type]
        if parameter.kind == parameter.KEYWORD_ONLY and not starred:
            starred = True
            words.append("*")
        words.append(f"**{parameter.name}" if parameter.kind == parameter.VAR_KEYWORD else parameter.name)
    return f"({', '.join(words)})"


def test_the_public_names_and_their_arguments() -> None:
    from dynammo import api

    assert set(dynammo.__all__) == {"NOTICE", "Model", "compare", "load", "train"} and set(dynammo.__all__) <= set(
        dir(dynammo)
    )
    assert set(api.__all__) == {"Comparison", "Model", "Prediction", "compare", "load", "train"}
    found = {name: vars(api)[name] for name in api.__all__}
    methods = {
        f"{name}.{method}": function
        for name, thing in found.items()
        if inspect.isclass(thing)
        for method, function in vars(thing).items()
        if inspect.isfunction(function) and not method.startswith("_")
    }
    functions = {name: thing for name, thing in found.items() if inspect.isfunction(thing)}
    assert {name: signature(function) for name, function in {**functions, **methods}.items()} == PUBLIC
    for name, thing in {**found, **methods}.items():
        assert inspect.getdoc(thing), name
    with pytest.raises(AttributeError, match="dynammo has no predict; it offers Model, compare, load, train"):
        dynammo.predict  # type: ignore[attr-defined]  # noqa: B018


def test_the_import_brings_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import dynammo; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["dynammo"]


def test_a_model_tells_what_it_is(
    model: Model, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (model.name, model.path, model.classes) == ("run", trained("analytic"), list(CLASSES))
    assert model.method == "analytic" and 0 <= model.mean_class_recall <= 1 and model.record["classes"] == list(CLASSES)
    assert re.fullmatch(
        r"<Model run: 4 classes \(blue, green, red, white\), analytic, mean class recall \d+\.\d %>", repr(model)
    )
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "newest").symlink_to(trained("analytic"), target_is_directory=True)
    monkeypatch.setenv("DYNAMMO_MODELS", str(trained("analytic").parent))
    monkeypatch.chdir(tmp_path)
    assert load().record == model.record  # the newest, as the commands


@pytest.mark.parametrize("name", ["blue.png", "deep.png", "ct.dcm", "volume.nii.gz"])
def test_the_same_digits_as_dynammo_classify(model: Model, images: Path, classified: Path, name: str) -> None:
    found, expected = model.predict(images / name), items(classified)[name]
    assert (found.name, found.label, found.probability) == (name, expected["class"], expected["probability"])
    assert found.probabilities == expected["probabilities"] and list(found.probabilities) == list(CLASSES)
    assert (found.unknown, list(found.flags)) == (expected["unknown"], expected["flags"])


def test_pixels_in_memory_get_the_answer_of_their_file(model: Model, images: Path) -> None:
    for name, forms in {
        "red.png": [np.asarray(Image.open(images / "red.png")), Image.open(images / "red.png")],
        "deep.png": [np.asarray(Image.open(images / "deep.png")), Image.open(images / "deep.png")],
        "ct.dcm": [pydicom.dcmread(images / "ct.dcm")],
    }.items():
        expected = model.predict(str(images / name))
        together = model.predict(forms)
        assert [prediction.name for prediction in together] == [f"image {i + 1}" for i in range(len(forms))]
        for prediction in [*together, *(model.predict(form) for form in forms)]:
            assert prediction.probabilities == expected.probabilities and prediction.unknown == expected.unknown
            np.testing.assert_array_equal(prediction.heat_map, expected.heat_map)


def test_a_folder_becomes_a_list_with_what_cannot_be_read(model: Model, images: Path) -> None:
    found = model.predict(images)
    assert [prediction.name for prediction in found] == sorted(path.name for path in images.iterdir())
    bad = next(prediction for prediction in found if prediction.name == "cut.jpg")
    assert (bad.label, bad.probability, dict(bad.probabilities), bad.top()) == (None, None, {}, [])
    assert bad.flags == ("unreadable",) and bad.reason and bad.heat_map is None and bad.picture is None
    assert repr(bad).startswith("<Prediction cut.jpg: unreadable: ") and "No prediction" in bad._repr_html_()
    assert model.predict(images / "cut.jpg").flags == ("unreadable",) and model.predict([]) == []


def test_a_prediction_ranks_and_shows(model: Model, images: Path, classified: Path) -> None:
    found = max(model.predict(images), key=lambda each: -1 if each.heat_map is None else each.heat_map.max())
    ranked = found.top(len(CLASSES))
    assert ranked[0] == (found.label, found.probability) and found.top(2) == ranked[:2] and found.top(0) == []
    assert [share for _, share in ranked] == sorted(found.probabilities.values(), reverse=True)
    assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert found.heat_map is not None and found.heat_map.dtype == np.float32 and found.heat_map.ndim == 2
    assert found.heat_map.min() >= 0 and found.heat_map.max() == 1
    assert found.picture is not None and max(found.picture.size) <= 256
    number = list(items(classified)).index(found.name)  # the heat map of the report is the same
    heat = re.search(rf'id="heat-{number}">(.*?)</script>', (classified / "report.html").read_text())
    assert heat is not None
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(heat[1]))))
    np.testing.assert_array_equal(np.round(found.heat_map * 255).astype(np.uint8), shown)


def test_low_confidence_and_batches_are_chosen(images: Path, trained: Trained) -> None:
    wary = load(str(trained("finetune")), low_confidence=1.0, batch_size=1).predict(images / "blue.png")
    sure = load(str(trained("finetune")), low_confidence=0.0).predict(images / "blue.png")
    assert "low confidence" in wary.flags and "low confidence" in repr(wary) and "low confidence" not in sure.flags
    assert list(wary.probabilities.values()) == pytest.approx(list(sure.probabilities.values()), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"device": "gpu"}, "the device gpu cannot be used"),
        ({"batch_size": 0}, "batch-size is 0"),
        ({"low_confidence": 2}, "low_confidence is 2; expected a number from 0 to 1"),
        ({"engine": "magic"}, "'magic'; expected one of auto"),
        ({"path": "nowhere"}, "there is no nowhere"),
    ],
)
def test_mistakes_are_sentences(trained: Trained, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load(**{"path": trained("analytic"), **options})  # type: ignore[arg-type]


def test_paths_without_an_image_are_refused(model: Model, tmp_path: Path) -> None:
    for images in (tmp_path / "none.png", [tmp_path / "none.png"], tmp_path):
        with pytest.raises(UserError, match=r"cannot be opened|there is no image in"):
            model.predict(images)
    with pytest.raises(UserError, match=r"image is of type int; expected a path, an array"):
        model.predict(7)  # type: ignore[call-overload]


def test_a_model_learns_forgets_and_is_combined(
    model: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_plots(monkeypatch)
    before = {file: file.read_bytes() for file in model.path.rglob("*") if file.is_file()}
    for split in ("train", "test"):
        for number in range(4):
            stripes = np.zeros((32, 32, 3), np.uint8)
            stripes[number::4] = 255 if split == "train" else 240
            (tmp_path / "new" / split / "striped").mkdir(parents=True, exist_ok=True)
            Image.fromarray(stripes).save(tmp_path / "new" / split / "striped" / f"{number}.png")
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    states, threads, hook = (random.getstate(), torch.get_rng_state()), torch.get_num_threads(), sys.excepthook
    capfd.readouterr()
    learnt = model.learn(tmp_path / "new", to=tmp_path / "learnt", max_drop=100, mlflow=False)
    less = learnt.forget(class_name="red", to=tmp_path / "less", mlflow=False)
    both = less.combine(model, to=tmp_path / "both", mlflow=False)
    same = less.combine(str(model.path), to=tmp_path / "same", mlflow=False)
    assert capfd.readouterr() == ("", "")
    assert (states[0] == random.getstate()) and torch.equal(states[1], torch.get_rng_state())
    assert (torch.get_num_threads(), sys.excepthook) == (threads, hook)
    assert learnt.classes == [*CLASSES, "striped"] and learnt.path == tmp_path / "learnt"
    assert less.classes == ["blue", "green", "white", "striped"]
    assert both.classes == same.classes and set(both.classes) == {*CLASSES, "striped"}
    assert learnt.predict(stripes).label == "striped"
    assert {file: file.read_bytes() for file in model.path.rglob("*") if file.is_file()} == before
    with pytest.raises(UserError, match="holds a finished model, which is not replaced"):
        model.learn(tmp_path / "new", to=tmp_path / "learnt")
    learnt.evaluate(verbose=True)
    assert "recall of striped" in capfd.readouterr().out


def test_a_folder_is_trained(
    tiny_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_plots(monkeypatch)
    small = {name: value for name, value in TINY.items() if name != "batch_size"} | {"mlflow": False}
    before = torch.get_rng_state()
    capfd.readouterr()
    first = train(
        tiny_data, tmp_path / "run", classes_per_task=[3, 1], order=["white", "red", "green", "blue"], **small
    )
    assert capfd.readouterr() == ("", "") and torch.equal(before, torch.get_rng_state())
    assert first.record["tasks"] == [["white", "red", "green"], ["blue"]] and first.path == tmp_path / "run"
    again = train(tiny_data, tmp_path / "two", classes_per_task=2, recipe=None, verbose=True, **small)
    assert "task 2/2" in capfd.readouterr().out and again.record["tasks"] == [["blue", "green"], ["red", "white"]]
    with pytest.raises(UserError, match=r"epoch is not a setting of train.yaml; did you mean epochs"):
        train(tiny_data, tmp_path / "none", epoch=3)


def test_a_model_is_measured(model: Model, tiny_data: Path, tmp_path: Path) -> None:
    found = model.evaluate()
    last = model.record["results"][-1]
    assert found.accuracy == pytest.approx(last["accuracy"]) and found.images == 12
    assert found.mean_class_recall == pytest.approx(model.mean_class_recall)
    assert list(found.recalls) == list(CLASSES) and list(map(list, found.confusion)) == last["confusion"]
    blue = tmp_path / "some" / "blue"
    write_image(blue / "x.png", "blue", 1)
    some = model.evaluate(tmp_path / "some", to=tmp_path / "out")
    assert some.images == 1 and math.isnan(some.recalls["red"]) and "3 of 4 classes have no test image" in str(some)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["accuracy"] == some.accuracy


def test_an_export_answers_alike(model: Model, images: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    written = model.export(tmp_path / "bundle", modality="CR", onnx=False)
    assert capfd.readouterr() == ("", "")
    assert written.bundle == tmp_path / "bundle" and written.archive.is_file() and not written.lacks
    bundle = load(written.bundle)
    assert bundle.name == "bundle" and bundle.classes == model.classes
    assert bundle.predict(images / "red.png").probabilities == model.predict(images / "red.png").probabilities
    script = load(written.bundle / "models" / "model.ts")
    assert script.predict(images / "red.png").label == model.predict(images / "red.png").label
    with pytest.raises(UserError, match="bundle is no run, so it does not tell where its test images lie"):
        bundle.evaluate()
