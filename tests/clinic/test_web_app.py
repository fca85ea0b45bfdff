"""The page to drop images on: what it answers, whom it refuses, and a visit by a real browser."""

import base64
import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from synthetic.datasets import CLASSES

from dynammo.clinic.web_app import NOTICE, make_app
from dynammo.inference.classifier import StudyClassifier
from dynammo.runs.load import load_model

pytest.importorskip("waitress", reason="waitress is not installed: pip install 'dynammo[serve]'")

PATIENT = "Doe^Jane"


@pytest.fixture
def client(application: Flask) -> FlaskClient:
    return application.test_client()


def post(client: FlaskClient, *files: tuple[str, bytes], **headers: str) -> Any:  # noqa: ANN401
    data = {"files": [(io.BytesIO(content), name) for name, content in files]}
    return client.post("/classify", data=data, headers={k.replace("_", "-"): v for k, v in headers.items()})


def error(answer: Any) -> str:  # noqa: ANN401
    found = answer.get_json()
    assert set(found) == {"error", "notice"}
    assert found["notice"] == NOTICE
    assert "Traceback" not in found["error"]
    return str(found["error"])


def image_kind(url: str) -> str | None:
    return Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))).format


def test_images_are_classified(client: FlaskClient, png: Path, dicom: Path) -> None:
    answer = post(client, ("red.png", png.read_bytes()), ("film.dcm", dicom.read_bytes()), ("notes.txt", b"hello"))
    found = answer.get_json()
    assert answer.status_code == 200
    assert found["notice"] == NOTICE
    assert found["ignored_files"] == 1 and found["ignored_names"] == ["notes.txt"]
    assert [item["path"] for item in found["items"]] == ["film.dcm", "red.png"]
    for item in found["items"]:
        assert tuple(item["probabilities"]) == CLASSES
        assert sum(item["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert item["probability"] == item["probabilities"][item["class"]] == max(item["probabilities"].values())
        assert image_kind(item["picture"]) == "JPEG"
        denied = bool({"unknown", "looks different"} & set(item["flags"]))
        assert (item["heat"] is None) is denied and (denied or image_kind(item["heat"]) == "PNG")
    for secret in (PATIENT, "4711-X", "19310203"):
        assert secret not in answer.get_data(as_text=True)


def test_a_bad_file_is_a_result_with_its_reason(client: FlaskClient, png: Path, dicom: Path) -> None:
    cut = dicom.read_bytes()[:-500]
    found = post(client, ("cut.dcm", cut), ("fake.png", b"no image"), ("red.png", png.read_bytes())).get_json()
    items = {item["path"]: item for item in found["items"]}
    assert items["cut.dcm"]["flags"] == items["fake.png"]["flags"] == ["unreadable"]
    assert items["cut.dcm"]["reason"]
    assert "neither DICOM nor NIfTI" in items["fake.png"]["reason"]
    assert items["red.png"]["class"] in CLASSES
    assert tempfile.gettempdir() not in str([item["reason"] for item in items.values()])


def test_an_image_of_another_kind_is_flagged(trained: Callable[..., Path], png: Path) -> None:
    """Of a model that knows the looks of its images; the limit is set so that this image is beyond it."""
    model = load_model(trained())
    classifier = StudyClassifier(model)
    classifier.thresholds["looks_different"] = -1.0
    found = post(make_app(classifier, model).test_client(), ("red.png", png.read_bytes())).get_json()
    assert "looks different" in found["items"][0]["flags"]


def test_requests_that_cannot_be_answered_end_in_a_sentence(client: FlaskClient, png: Path) -> None:
    image = png.read_bytes()
    assert "there is no image in the upload" in error(post(client, ("notes.txt", b"hello")))
    assert "no file came" in error(client.post("/classify"))
    assert "no file came" in error(client.post("/classify", data=b"{}", content_type="application/json"))
    large = post(client, ("large.png", bytes(3 * 10**6)))
    assert (large.status_code, "at most 2 MB" in error(large)) == (413, True)
    many = post(client, *[(f"{i}.png", image) for i in range(13)])
    assert (many.status_code, "at most" in error(many)) in ((413, True), (400, True))
    assert client.get("/classify").status_code == 405
    assert client.get("/elsewhere").status_code == 404
    assert post(client, ("red.png", image)).status_code == 200  # it lives on


def test_nothing_unexpected_leaks(client: FlaskClient, monkeypatch: pytest.MonkeyPatch, png: Path, caplog: Any) -> None:  # noqa: ANN401
    def fail(*_: object) -> None:
        raise RuntimeError(f"{PATIENT} in secret.png")

    monkeypatch.setattr(StudyClassifier, "classify", fail)
    answer = post(client, ("secret.png", png.read_bytes()))
    assert answer.status_code == 500
    assert error(answer) == "these images could not be classified (RuntimeError); try them one by one."
    assert not caplog.records


def test_nothing_is_kept(
    client: FlaskClient, png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for files in ([("red.png", png.read_bytes())], [("notes.txt", b"hello")], [("large.png", bytes(10**6))]):
        post(client, *files)
        assert list(tmp_path.iterdir()) == []
    assert "red.png" not in "".join(capfd.readouterr())


def test_results_become_a_table_and_a_report(client: FlaskClient, png: Path) -> None:
    found = post(client, ("red.png", png.read_bytes()), ("fake.png", b"no image")).get_json()
    table = client.post("/table", json=found)
    assert table.get_data(as_text=True).startswith("path,") and "red.png" in table.get_data(as_text=True)
    report = client.post("/report?language=de", json=found)
    assert report.status_code == 200 and '<html lang="de">' in report.get_data(as_text=True)
    assert "red.png" in report.get_data(as_text=True) and NOTICE in report.get_data(as_text=True)
    assert client.get("/progress?progress=7").get_json() == {"done": 0, "total": 0}
    odd = [{}, [], {"items": []}, {"items": [{"path": 1}]}, {"items": [{**found["items"][0], "flags": ["<b>"]}]}]
    for sent in [*odd, {"items": [{**found["items"][1], "picture": "data:,?"}]}]:
        assert client.post("/report", json=sent).status_code == 400
    assert client.post("/table", data="no JSON").status_code in (400, 415)
    assert client.post("/report", json=found, headers={"Origin": "https://evil.example"}).status_code == 403


def test_the_sample_image_is_made_up_drawn_at_once_and_classified(client: FlaskClient) -> None:
    answer = client.get("/sample")
    sample = answer.get_data()
    assert answer.mimetype == "image/png" and answer.headers["Cache-Control"] == "no-store"
    assert Image.open(io.BytesIO(sample)).size == (384, 288)
    assert client.get("/sample").get_data() == sample
    assert client.get("/sample", headers={"Host": "evil.example"}).status_code == 421
    (item,) = post(client, ("made-up-sample.png", sample)).get_json()["items"]
    assert item["class"] in CLASSES and item["path"] == "made-up-sample.png"


@pytest.mark.parametrize("host", ["localhost", "localhost:8765", "127.0.0.1:8765", "[::1]:8765", "127.5.5.5"])
def test_this_machine_is_answered(client: FlaskClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "192.168.1.7:8765", "[", "user@evil"]
)
def test_another_name_is_refused(client: FlaskClient, host: str) -> None:
    assert client.get("/", headers={"Host": host}).status_code in (400, 421)
    assert client.post("/classify", headers={"Host": host}).status_code in (400, 421)


def test_names_of_a_network_are_answered_when_allowed(application: Flask, trained: Callable[..., Path]) -> None:
    model = load_model(trained())
    client = make_app(StudyClassifier(model), model, names={"ward7"}).test_client()
    for host in ("ward7:80", "WARD7", "10.0.0.7", "192.168.1.7:8765", "[fe80::1]:8765"):
        assert client.get("/", headers={"Host": host}).status_code == 200
    for host in ("evil.example", "ward7.evil.example", "10.0.0.7.evil.example", "[", "ward7@evil.example", ""):
        assert client.get("/", headers={"Host": host}).status_code in (400, 421)
    another = {"Host": "10.0.0.7:8765", "Origin": "http://10.0.0.9"}  # a page of another machine
    assert client.post("/classify", headers=another).status_code == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://localhost"}, 200),
        ({"Origin": "http://localhost", "Sec_Fetch_Site": "same-origin"}, 200),
        ({"Origin": "http://localhost:3000"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
    ],
)
def test_other_pages_cannot_post(client: FlaskClient, png: Path, headers: dict[str, str], status: int) -> None:
    assert post(client, ("red.png", png.read_bytes()), **headers).status_code == status


def test_every_answer_is_closed(client: FlaskClient, png: Path) -> None:
    answers = [client.get("/"), client.get("/elsewhere"), post(client, ("red.png", png.read_bytes())), post(client)]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert "Set-Cookie" not in answer.headers
        assert "Access-Control-Allow-Origin" not in answer.headers


DROP = """(files) => {
  const transfer = new DataTransfer();
  for (const [name, text] of files) {
    transfer.items.add(new File([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], name));
  }
  for (const kind of ["dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""


def drop(page: Any, *files: Path) -> None:  # noqa: ANN401
    page.evaluate(DROP, [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files])


def test_files_chosen_by_keyboard_become_cards(visit: Callable[..., Any], png: Path, dicom: Path) -> None:
    page = visit()
    assert page.get_by_text(NOTICE).is_visible()
    page.wait_for_load_state("networkidle")
    page.keyboard.press("Tab")  # the language
    page.keyboard.press("Tab")
    page.locator("#choose:focus").wait_for()
    with page.expect_file_chooser() as chooser:
        page.locator("#choose").press("Enter")
    chooser.value.set_files([png, dicom])
    page.wait_for_selector(".result")
    assert sorted(page.locator(".result h3").all_inner_texts()) == ["film.dcm", "red.png"]
    assert page.locator(".result").filter(has_text="film.dcm").locator("dd").first.text_content() == "CR, dicom"
    assert page.locator("#status").inner_text().startswith("2 results")
    card = page.locator(".result").filter(has_text="red.png")
    assert not card.locator(".card").is_visible()  # a list, until one is opened
    card.locator("summary").press("Enter")
    assert card.locator(".ranked li").count() == len(CLASSES)
    assert card.locator(".unknown .number").inner_text().startswith("0.")
    card.locator(".heat:not([width='0'])").wait_for()
    assert card.locator("img").evaluate("(image) => image.naturalWidth") == 32
    opacity = "(canvas) => canvas.style.opacity"
    assert card.locator(".heat").evaluate(opacity) == "0.6"
    card.locator(".heat-on").press("Space")
    assert card.locator(".heat").evaluate(opacity) == "0"


def test_dropped_files_and_removal(visit: Callable[..., Any], png: Path, dicom: Path, tmp_path: Path) -> None:
    page = visit(viewport={"width": 390, "height": 800})
    broken = tmp_path / "<img src=x onerror=alert(1)>.png"
    broken.write_bytes(b"no image")
    drop(page, png, broken)
    page.wait_for_selector(".result")
    drop(page, dicom)
    page.wait_for_selector(".result:nth-child(3)")
    assert page.locator(".result h3").all_inner_texts()[0] == "film.dcm"  # the newest first
    bad = page.locator(".result").filter(has_text="No prediction")
    bad.locator("summary").click()
    assert bad.locator("h3").inner_text() == "_img src=x onerror=alert(1)_.png"
    assert "neither DICOM nor NIfTI" in bad.locator(".reason").inner_text()
    assert bad.locator(".told").inner_text().startswith("unreadable")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    bad.locator(".remove").click()
    assert page.locator(".result").count() == 2
    page.click("#clear")
    assert not page.locator("#found").is_visible()


def test_a_sample_image_is_tried_by_one_button_and_named_as_made_up(visit: Callable[..., Any]) -> None:
    page = visit()
    assert "made up" in page.locator("#sample-is").inner_text()
    page.locator("#sample").press("Enter")
    page.wait_for_selector(".result")
    assert page.locator(".result h3").all_inner_texts() == ["made-up-sample.png"]
    page.wait_for_function("document.querySelector('.result img').naturalWidth > 0")


def test_results_speak_the_language_that_is_switched_to(visit: Callable[..., Any], tmp_path: Path) -> None:
    page = visit()
    fake = tmp_path / "fake.png"
    fake.write_bytes(b"no image")
    drop(page, fake)
    page.wait_for_selector(".result")
    page.select_option("#language", "de")
    assert page.locator("#status").inner_text() == "1 Ergebnis; 1 ist anzusehen."
    assert page.locator(".result .headline").inner_text() == "Keine Vorhersage"
    assert page.locator(".result .reason").inner_text().startswith("sie ist weder DICOM noch NIfTI")
    assert page.locator(".result details").evaluate("(part) => part.open")


def test_the_page_tells_what_it_does_not_take(visit: Callable[..., Any], tmp_path: Path, png: Path) -> None:
    page = visit()
    large = tmp_path / "large.png"
    large.write_bytes(bytes(3 * 10**6))
    page.set_input_files("#files", large)
    page.wait_for_selector("#status.failed")
    assert "at most 2 MB" in page.locator("#status").inner_text()
    page.set_input_files("#files", png)
    page.wait_for_selector(".result")
    assert page.locator("#status.failed").count() == 0


def test_dark_scheme_follows_the_system(visit: Callable[..., Any]) -> None:
    shade = "getComputedStyle(document.body).backgroundColor"
    assert visit().evaluate(shade) == "rgb(255, 255, 255)"
    assert visit(color_scheme="dark").evaluate(shade) == "rgb(18, 24, 30)"
