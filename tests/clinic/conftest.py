"""The page to drop images on behind its real server, and images to drop."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid
from synthetic.datasets import write_image
from synthetic.report import ITEMS, make_run, picture_of

from dynammo.clinic.report import write_report
from dynammo.clinic.uploads import UploadLimits
from dynammo.inference.slices import Viewers

if TYPE_CHECKING:  # an extra
    from flask import Flask


@pytest.fixture(scope="module")
def limits() -> UploadLimits:
    return UploadLimits(megabytes=2, files=12)


@pytest.fixture(scope="module")
def application(trained: Callable[..., Path], limits: UploadLimits) -> "Flask":
    pytest.importorskip("waitress", reason="waitress is not installed: pip install 'dynammo[serve]'")
    from dynammo.clinic.web_app import make_app
    from dynammo.inference.classifier import StudyClassifier
    from dynammo.runs.load import load_model

    model = load_model(trained())
    return make_app(StudyClassifier(model), model, limits)


@pytest.fixture(scope="module")
def png(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("images") / "red.png"
    write_image(file, "red", 3)
    return file


@pytest.fixture(scope="module")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made-up radiograph of a made-up patient."""
    data = pydicom.Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.PatientName, data.PatientID, data.PatientBirthDate, data.Modality = "Doe^Jane", "4711-X", "19310203", "CR"
    data.Rows = data.Columns = 40
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = np.random.default_rng(0).integers(0, 4096, (40, 40), dtype=np.uint16).tobytes()
    file = tmp_path_factory.mktemp("images") / "film.dcm"
    data.save_as(file, enforce_file_format=True)
    return file


@pytest.fixture(scope="module")
def address(application: "Flask", limits: UploadLimits) -> Iterator[tuple[str, int]]:
    """The page behind its real server."""
    from dynammo.clinic.server import bind

    server = bind(application, "127.0.0.1", 0, limits)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield "127.0.0.1", int(server.effective_port)
    server.close()
    thread.join(5)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium without window."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    from synthetic.headless import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:  # noqa: ANN401
    """Open the report of some items; whatever the page complains about or asks for fails the test."""
    file = tmp_path / "report.html"

    def is_outward(url: str) -> bool:
        return not url.startswith("data:") and url != file.as_uri()

    from synthetic.headless import watched_pages

    with watched_pages(browser, is_outward) as new_page:

        def show(
            items: list[dict[str, Any]] = ITEMS,
            about: dict[str, Any] | None = None,
            viewers: Viewers | None = None,
            **context: Any,  # noqa: ANN401
        ) -> Any:  # noqa: ANN401
            write_report(file, make_run(items, about_classes=about or {}), items, picture_of(items), "", viewers)
            page = new_page(**context)
            page.goto(file.as_uri())
            return page

        yield show


@pytest.fixture
def visit(browser: Any, address: tuple[str, int]) -> Iterator[Callable[..., Any]]:  # noqa: ANN401
    """Open the page to drop images on; whatever it complains about or asks of others fails the test."""
    from synthetic.headless import watched_pages

    url = "http://{}:{}/".format(*address)

    with watched_pages(browser, lambda asked: not asked.startswith(("data:", url))) as new_page:

        def visit(**context: Any) -> Any:  # noqa: ANN401
            page = new_page(**context)
            page.goto(url)
            return page

        yield visit
