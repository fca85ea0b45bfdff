"""MONAI Label for real: an app of a tiny model, served on this machine, asked, abused and taught over HTTP."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from label.label_server import LABEL_PYTHON, LabelServer, label_server
from PIL import Image
from synthetic.datasets import ROOT, TINY, make_data, run_bundle, write_image
from synthetic.images import dicom, save

from dynammo.export.export_run import ExportSettings, export_run
from dynammo.export.monai_label import write_label_app

pytestmark = pytest.mark.label

KNOWN = ["blue", "green", "red"]
NEW = "white"
NAME = "dynammo_colours_classification"
AGREE = 1e-3  # of probabilities, between MONAI Label and dynammo
Json = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("label")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    """Class folders of what the model learns first."""
    made = make_data(folder / "data", train=8, test=4)
    for split in ("train", "test"):
        shutil.rmtree(made / split / NEW)
    return made


@pytest.fixture(scope="module")
def bundle(folder: Path, data: Path) -> Path:
    """An exported model that does not know the new class."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        run_bundle(
            "training",
            ["bundle/configs/train.yaml", "configs/methods/analytic.yaml"],
            dataset_dir=str(data),
            output_dir=str(folder / "run"),
            increments=[KNOWN],
            mlflow=False,
            **TINY,
        )
    export_run(folder / "run", folder / NAME, ExportSettings(onnx=False))
    return folder / NAME


@pytest.fixture(scope="module")
def studies(folder: Path) -> Path:
    """Images that nobody has labelled yet, some of them no images."""
    place = folder / "studies"
    for c, colour in enumerate((*KNOWN, NEW)):
        for i in range(10):
            write_image(place / f"{colour}_{i}.png", colour, 5000 + 100 * c + i)
    with Image.open(place / "red_0.png") as red:
        red.save(place / "photo.jpg", quality=100, subsampling=0)
        pixels = np.asarray(red)
    save(dicom(pixels), place / "scan.dcm")
    stripes = np.indices((32, 32)).sum(0) % 2 * 255
    save(dicom(stripes.astype(np.uint8)), place / "stripes.dcm")
    (place / "note.png").write_text("no image")
    return place


@pytest.fixture(scope="module")
def server(folder: Path, bundle: Path, data: Path, studies: Path) -> Iterator[LabelServer]:
    write_label_app(bundle, folder / "app", folder / "run")
    with label_server(folder / "app", NAME, studies, "--conf", "test_data", str(data / "test")) as running:
        yield running


def classified(bundle: Path, image: Path, folder: Path) -> dict[str, float]:
    """Probabilities of `dynammo classify`."""
    from dynammo.inference.classifier import StudyClassifier
    from dynammo.io.studies import find_studies
    from dynammo.runs.load import load_model

    (result,) = StudyClassifier(load_model(bundle)).classify(find_studies(image, folder).studies)
    found: dict[str, float] = result.item["probabilities"]
    return found


def scores(response: requests.Response) -> dict[str, float]:
    assert response.ok, response.text
    return {entry["label"]: entry["score"] for entry in response.json()["prediction"]}


def refused(response: requests.Response, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert all(word in response.json()["detail"] for word in words), response.text


def outcome(status: Json) -> Json:
    """What a background task says at its end."""
    assert status["status"] == "DONE", status["details"]
    (line,) = (line for line in status["details"] if "Result: " in line)
    found: Json = json.loads(line.split("Result: ", 1)[1])
    return found


def test_info_names_the_classes_and_that_it_is_no_medical_device(server: LabelServer) -> None:
    model = server.info()["models"][NAME]
    assert model["type"] == "classification"
    assert model["labels"] == {"blue": 0, "green": 1, "red": 2}
    assert "Not a medical device" in model["notice"]


@pytest.mark.parametrize("image", ["red_0.png", "photo.jpg", "scan.dcm"])
def test_classifies_as_dynammo_does(
    server: LabelServer, bundle: Path, studies: Path, image: str, tmp_path: Path
) -> None:
    expected = classified(bundle, studies / image, tmp_path)
    answer = server.infer(Path(image).stem, any_image=True)
    assert scores(answer) == pytest.approx(expected, abs=AGREE)
    assert answer.json()["label"] == max(expected, key=expected.__getitem__)
    assert 0 <= answer.json()["unknown"] <= 1
    assert scores(server.infer_file(studies / image, any_image=True)) == pytest.approx(expected, abs=AGREE)


def test_a_batch_goes_on_past_what_is_no_image(server: LabelServer) -> None:
    answers = server.ask("POST", f"batch/infer/{NAME}", params={"run_sync": True}, json={"any_image": True}).json()
    assert len(answers) == 44
    assert "cannot be read" in answers["note"]["error"]
    assert {name for name, answer in answers.items() if "error" in answer} == {"note"}
    saved = server.ask("GET", "datastore/label", params={"label": "red_1", "tag": "original"}).json()
    assert saved["prediction"] == answers["red_1"]["params"]["prediction"]


def test_a_batch_in_the_background_saves_its_answers(server: LabelServer) -> None:
    request = {"images": ["blue_1", "blue_2", "note"], "label_tag": "second", "any_image": True}
    server.ask("POST", f"batch/infer/{NAME}", json=request).raise_for_status()
    assert outcome(server.finished("batch/infer")) == {"classified": 2, "refused": 1}
    answers = {
        image: server.ask("GET", "datastore/label", params={"label": image, "tag": "second"}).json()
        for image in request["images"]
    }
    assert {entry["label"] for entry in answers["blue_2"]["prediction"]} == set(KNOWN)
    assert "cannot be read" in answers["note"]["error"]


def test_what_cannot_be_classified_is_refused_in_a_sentence(server: LabelServer, tmp_path: Path) -> None:
    refused(server.infer("note"), 422, "cannot be read as an image", "DICOM")
    refused(server.infer("nobody"), 404, "no image of this id")
    refused(server.infer("stripes"), 422, "unlike all images", "another modality", "any_image")
    refused(server.ask("POST", "infer/other", params={"image": "red_0"}), 404, NAME)
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(save(dicom(np.zeros((32, 32), np.uint8)), tmp_path / "whole.dcm").read_bytes()[:600])
    refused(server.infer_file(cut), 422, "cannot be read as an image")
    assert server.infer("red_0", any_image=True).ok, "the server lives on"


def test_a_gigabyte_is_refused_unread(server: LabelServer, tmp_path: Path) -> None:
    large, headers = tmp_path / "large", {"Content-Type": "multipart/form-data; boundary=part"}
    with large.open("wb") as file:
        file.truncate(10**9)
    with large.open("rb") as file:  # sent with its length
        answer = server.ask("POST", f"infer/{NAME}?output=json", data=file, headers=headers)
    refused(answer, 413, "larger than 200 MB")

    def endless() -> Iterator[bytes]:  # sent without a length
        yield b'--part\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(250):
            yield bytes(10**6)

    answer = server.ask("POST", f"infer/{NAME}?output=json", data=endless(), headers=headers)
    refused(answer, 413, "larger than 200 MB")
    assert server.infer("red_0", any_image=True).ok, "the server lives on"


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}]
)
def test_other_web_sites_are_kept_out(server: LabelServer, headers: dict[str, str]) -> None:
    refused(server.ask("GET", "info/", headers=headers), 403, "other web sites")


def test_a_tampered_network_is_not_used(server: LabelServer) -> None:
    file = server.app / "model" / NAME / "1" / "models" / "model.ts"
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused(server.infer("red_0"), 503, "sha256 differs")
    assert "sha256 differs" in server.info()["models"][NAME]["fault"]
    refused(server.ask("POST", f"train/{NAME}", params={"run_sync": True}, json={}), 409, "sha256 differs")
    file.write_bytes(content)
    assert server.infer("red_0", any_image=True).ok


def test_a_model_with_other_classes_than_its_metadata_is_not_used(server: LabelServer) -> None:
    file = server.app / "model" / NAME / "1" / "configs" / "metadata.json"
    content = file.read_text()
    file.write_text(content.replace('"green"', '"purple"'))
    refused(server.infer("red_0"), 503, "blue, green, red", "purple")
    file.write_text(content)
    assert server.infer("red_0", any_image=True).ok


def test_without_labels_there_is_nothing_to_learn(server: LabelServer) -> None:
    server.label("red_0", json.dumps({"colour": "red"}))
    status = server.train(run_id="increment")
    assert status["status"] == "ERROR"
    assert "no new image with a final label" in status["details"][-1]
    assert "1 label files name no class" in status["details"][-1]
    asked = server.ask("POST", f"train/{NAME}", params={"run_sync": True}, json={"run_id": "evaluate"})
    refused(asked, 409, "evaluate", "increment")


def test_learns_a_new_class_from_labels(server: LabelServer) -> None:
    before = server.info()["models"][NAME]["version"]
    for i in range(9):
        server.label(f"{NEW}_{i}", json.dumps({"label": NEW}))
    result = outcome(server.train(run_id="increment", max_drop=100))
    assert result["served"]
    assert result["classes"] == [*KNOWN, NEW]
    assert 0 < result["images"][NEW] <= 9
    assert server.classes() == [*KNOWN, NEW]
    assert server.info()["models"][NAME]["version"] != before
    answer = server.infer(f"{NEW}_9")
    assert answer.json()["label"] == NEW, answer.text
    assert server.infer("blue_9", any_image=True).json()["label"] == "blue"


def test_an_image_is_learnt_once(server: LabelServer) -> None:
    status = server.train()
    assert status["status"] == "ERROR"
    assert "no new image with a final label" in status["details"][-1]


def test_what_forgets_too_much_is_not_served(server: LabelServer) -> None:
    for i in range(10):  # a class that nobody can tell from red
        server.label(f"red_{i}", json.dumps({"label": "crimson"}))
    served = (server.app / "model" / NAME / "served").read_text()
    result = outcome(server.train(run_id="increment", max_drop=0, val_split=0))
    assert not result["served"]
    assert "more than 0" in result["reason"]
    assert (server.app / "model" / NAME / "served").read_text() == served
    assert not list((server.app / "model" / NAME).glob(".learning-*"))


def test_known_classes_are_updated(server: LabelServer) -> None:
    for i in range(10):
        server.label(f"red_{i}", json.dumps({"label": "red"}))
    result = outcome(server.train(run_id="training", max_drop=0, val_split=0))
    assert result["served"], result
    assert result["images"] == {"red": 10}
    assert server.classes() == [*KNOWN, NEW]
    assert server.infer("red_9", any_image=True).json()["label"] == "red"


DOCS = (ROOT / "docs" / "deploy-label.md").read_text()
CURLS = [line for line in DOCS.splitlines() if line.startswith("curl")]


def test_the_commands_of_the_docs_do_what_they_say(server: LabelServer, studies: Path, tmp_path: Path) -> None:
    """Every curl line and the Python block, as typed but for address, model and the folder they are typed in."""
    assert len(CURLS) >= 11
    before = server.classes()
    shutil.copy(studies / "blue_1.png", studies / "lesion1.png")
    shutil.copy(studies / "photo.jpg", tmp_path)
    shutil.copy(studies / "scan.dcm", tmp_path)
    (tmp_path / "label.json").write_text(json.dumps({"label": "NV"}))
    wait_until(lambda: "lesion1" in server.ask("GET", "datastore/?output=all").json()["objects"])
    said = {}
    for command in CURLS:
        typed = as_typed(command, server).replace("curl ", "curl --silent --show-error --fail-with-body ", 1)
        done = subprocess.run(typed, shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        said[command] = done.stdout
        if "batch/infer/" in command:
            server.finished("batch/infer")
    assert any('"label":"blue"' in answer for answer in said.values())
    assert json.loads(said[CURLS[-1]])["status"] == "STOPPED"
    (block,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    program = [str(LABEL_PYTHON), "-c", as_typed(block, server)]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("blue "), done.stderr
    assert server.classes() == before, "the training was stopped"


def as_typed(text: str, server: LabelServer) -> str:
    return text.replace("http://127.0.0.1:8000", server.address).replace("dynammo_skin_classification", NAME)


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_images_are_not_named_in_the_log(server: LabelServer) -> None:
    assert server.infer("red_1", any_image=True).ok
    logs = [server.log, *(server.app / "logs").iterdir()]
    assert not [log for log in logs if re.search(r"(blue|green|red|white)_\d", log.read_text())]
