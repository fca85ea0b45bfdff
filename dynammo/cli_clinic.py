"""Commands for clinicians: classify, serve."""

from pathlib import Path
from typing import Annotated

import typer

from dynammo.cli_options import Average, Device, Features, Input, NewestModel
from dynammo.errors import UserError
from dynammo.runtime.plain import expanded, say

__all__ = ["classify", "serve"]

ENGINE_HELP = (
    "Engine: auto, torch, compile, onnx, openvino; on processors with bfloat16 also torch-bfloat16, compile-bfloat16."
)
ClassFile = Annotated[
    Path | None, typer.Option(help="Names, codes and marks of the classes (JSON, YAML, CSV); those of the model.")
]
Language = Annotated[str | None, typer.Option(help="Of the page: en or de; that of the browser if left out.")]


def classify(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for table, report and record.")],
    source: Input = None,
    model: NewestModel = None,
    features: Features = None,
    average: Average = None,
    dicom_sr: Annotated[bool, typer.Option("--dicom-sr", help="Write a DICOM structured report per study.")] = False,
    sort_into: Annotated[Path | None, typer.Option(help="Copy images here, one folder for each class.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Resume work that was interrupted.")] = False,
    with_patient_id: Annotated[
        bool, typer.Option("--with-patient-id", help="Put the patient's number into table and JSON.")
    ] = False,
    mask_corners: Annotated[
        bool, typer.Option("--mask-corners", help="Paint over the corners of pictures, where names may be burnt in.")
    ] = False,
    low_confidence: Annotated[
        float | None, typer.Option(help="Flag classes less probable than this; the model's own limit.", min=0, max=1)
    ] = None,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="Threads that read images; 0 for one per core.", min=0)] = 0,
    batch_size: Annotated[str, typer.Option(help="Images in each pass: a number or auto.")] = "auto",
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "auto",
    engine_cluster: Annotated[
        str | None, typer.Option(help="Where to run: local for Ray on this machine, or ray://HOST:10001.")
    ] = None,
    language: Language = None,
    class_file: ClassFile = None,
    viewer_megabytes: Annotated[
        float, typer.Option(help="Room in the page for slices and values to look through; 0 for none.", min=0)
    ] = 25.0,
) -> None:
    """Classify a folder of DICOM, NIfTI, PNG, JPEG and TIFF images: exit status 0, or 3 when some are unreadable."""
    from dynammo.runs.load import find_model

    if (source is None) == (features is None):
        raise typer.BadParameter("give either images (--input FOLDER) or embeddings (--features FILE with --model RUN)")
    if features is not None:
        from dynammo.clinic.classify_features import classify_features

        classify_features(features, output, model, low_confidence, average)
        return
    if average is not None:
        raise typer.BadParameter("--average is for embeddings (--features FILE)")
    assert source is not None
    say(f"looking for images in {source} ...")  # at once: what follows takes seconds to import
    if not expanded(source).exists():
        raise UserError(f"there is no {source}; give --input a folder, an image, a zip, a DICOMDIR or a list of paths.")
    find_model(model)
    from dynammo.clinic.classify import ClassifySettings
    from dynammo.clinic.classify import classify as run

    settings = ClassifySettings(
        model=model, dicom_sr=dicom_sr, sort_into=sort_into, with_patient_id=with_patient_id,
        mask_corners=mask_corners, resume=resume, device=device, workers=workers, batch_size=batch_size,
        low_confidence=low_confidence, engine=engine, engine_cluster=engine_cluster, language=language,
        class_file=class_file, viewer_megabytes=viewer_megabytes,
    )  # fmt: skip
    raise typer.Exit(run(source, output, settings))


def serve(
    model: NewestModel = None,
    port: Annotated[int, typer.Option(help="Port of the page; 0 for any free one.", min=0, max=65535)] = 8765,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    device: Device = "auto",
    max_megabytes: Annotated[int, typer.Option(help="Largest upload, in MB.", min=1)] = 200,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_network: Annotated[
        bool, typer.Option("--allow-network", help="Listen where other machines can reach the page, unencrypted.")
    ] = False,
    engine: Annotated[str, typer.Option(help=ENGINE_HELP)] = "auto",
    language: Language = None,
) -> None:
    """Open a page on this machine to drop images on; Ctrl-C ends it."""
    from dynammo.runs.load import find_model

    say("starting the page ...")  # at once: what follows takes seconds to import
    find_model(model)
    from dynammo.clinic.server import serve as run

    run(model, host, port, device, max_megabytes, allow_network, open_page, engine, language)
