"""`dynammo classify`: a folder of images becomes CSV, JSON, a page to look at and a record."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dynammo import NOTICE, __version__
from dynammo.clinic.journal import Contents, Journal
from dynammo.clinic.languages import choose_language
from dynammo.clinic.levels import count_levels, level_of
from dynammo.clinic.predictions_table import predictions_csv
from dynammo.clinic.report import model_facts, write_report
from dynammo.clinic.sort_files import sort_studies
from dynammo.clinic.structured_report import write_study_reports
from dynammo.data.class_file import describe_classes
from dynammo.errors import UserError
from dynammo.inference.classifier import NOTHING, StudyClassifier
from dynammo.inference.cluster import Classified, classify_on_cluster
from dynammo.inference.slices import MEGABYTES, Viewers, make_viewers
from dynammo.io.studies import Study, StudyList, find_studies
from dynammo.runs.load import Model, load_model
from dynammo.runtime import provenance
from dynammo.runtime.files import prepare_output_dir, write_atomically, write_json
from dynammo.runtime.locking import lock_folder
from dynammo.runtime.plain import expanded, say
from dynammo.runtime.progress import make_progress
from dynammo.runtime.unfinished import remove_leftovers, work_folder

__all__ = ["ALL_READ", "SOME_UNREADABLE", "ClassifySettings", "classify", "make_classifier"]

ALL_READ, SOME_UNREADABLE = 0, 3
NOT_RECOGNISED = "not recognised"  # folder of what is none of the classes, as far as the model can tell
JOURNAL = "unfinished.jsonl"
REPORTS = "structured_reports"
UNPACKED = ".unpacked."  # begins the name of the folder that a zip is unpacked into
EXCHANGED = "its file was exchanged while it was classified; classify it again"


@dataclass(frozen=True)
class ClassifySettings:
    """What a person may choose; see `dynammo classify --help`."""

    model: Path | None = None
    dicom_sr: bool = False
    sort_into: Path | None = None
    with_patient_id: bool = False
    mask_corners: bool = False
    resume: bool = False
    device: str = "auto"
    workers: int = 0
    batch_size: str = "auto"
    low_confidence: float | None = None
    engine: str = "auto"
    engine_cluster: str | None = None
    language: str | None = None
    class_file: Path | None = None
    viewer_megabytes: float = MEGABYTES


def classify(source: Path, output_dir: Path, settings: ClassifySettings) -> int:
    """Classify everything in `source`.

    Args:
        source: a folder, an image, a zip, a DICOMDIR, or a list of paths.
        output_dir: folder for `predictions.csv`, `predictions.json`, `report.html` and `classification.json`.
        settings: see `ClassifySettings`.

    Returns:
        0 when everything was read, 3 when some images were unreadable.

    Raises:
        UserError: nothing to classify, no model, an output folder that cannot be written, is full, or that another
            process writes to.
    """
    folder = prepare_output_dir(output_dir)
    lock = lock_folder(folder, "classification", "--output")
    try:
        return _classify(source, folder, settings)
    finally:
        lock.release()


def _classify(source: Path, folder: Path, settings: ClassifySettings) -> int:
    started = time.perf_counter()
    _remove_leftovers(folder, settings)
    with work_folder(UNPACKED, folder) as unpacked:
        listed = find_studies(source, unpacked, [path for path in (folder, settings.sort_into) if path])
        say(f"{len(listed.studies)} studies or images, {listed.ignored} other files ignored")
        model = load_model(settings.model)
        say(f"model {model.name}: {', '.join(model.record['classes'])}")
        describe_classes(settings.class_file, model.record["classes"])  # refused before the work
        classifier = make_classifier(model, settings)
        try:
            journal = Journal(folder / JOURNAL, _key(source, model, settings), settings.resume)
            contents = Contents({study.name: study.files for study in listed.studies})
            _work(partial(_results, model, classifier, settings), listed, journal, contents)
            journal.items = [_checked(item, contents) for item in journal.items]
            run = _run(source, model, classifier, listed, journal.items, settings) | {
                "seconds": time.perf_counter() - started
            }
            viewers = make_viewers(
                listed.studies, journal.items, classifier, contents.exchanged, settings.viewer_megabytes
            )
            _write(folder, run, journal, listed, settings, viewers)
        except OSError as error:
            raise UserError(
                f"{folder} cannot be written ({error.strerror or error}); what was classified so far is kept there: "
                "make room and type the same command with --resume."
            ) from error
        journal.close(remove=True)
    _print(folder, run)
    return SOME_UNREADABLE if run["counts"]["unreadable"] else ALL_READ


def _remove_leftovers(folder: Path, settings: ClassifySettings) -> None:
    """What a killed process left half written, which may be of other patients; `work_folder` sees to its own."""
    remove_leftovers(folder)
    remove_leftovers(folder / REPORTS)
    if settings.sort_into:
        remove_leftovers(expanded(settings.sort_into), recursively=True)


def make_classifier(model: Model, settings: ClassifySettings) -> StudyClassifier:
    """The classifier of `dynammo classify` with these settings."""
    import torch

    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device {device} cannot be used; type --device cpu or cuda:0.") from error
    size = (64 if device.startswith("cuda") else 16) if settings.batch_size == "auto" else settings.batch_size
    if not str(size).isdigit() or int(size) < 1:
        raise UserError(f"--batch-size is {size}; expected auto or a number from 1.")
    workers = settings.workers or max(2, torch.get_num_threads())
    return StudyClassifier(
        model, device, int(size), workers, settings.mask_corners, settings.low_confidence, settings.engine
    )


def _key(source: Path, model: Model, settings: ClassifySettings) -> dict[str, Any]:
    return {
        "input": str(expanded(source).resolve()),
        "model": model.sha256,
        "version": __version__,
        # engines in float32 agree
        "options": [settings.mask_corners, settings.low_confidence, settings.engine.endswith("bfloat16")],
    }


def _results(
    model: Model, classifier: StudyClassifier, settings: ClassifySettings, studies: list[Study]
) -> Iterator[Classified]:
    """Item and picture of every study, from this process or from a cluster."""
    if settings.engine_cluster is None:
        yield from ((result.item, result.picture) for result in classifier.classify(studies))
        return
    absolute = [replace(study, files=tuple(file.resolve() for file in study.files)) for study in studies]
    make = partial(_of_worker, model.path.resolve(), model.sha256, settings)
    yield from classify_on_cluster(settings.engine_cluster, absolute, make)


def _of_worker(path: Path, sha256: str, settings: ClassifySettings) -> StudyClassifier:
    """The classifier of one worker of a cluster, which has to find the very same model."""
    model = load_model(path)
    if model.sha256 != sha256:
        raise UserError(f"{path} is another model there; put the same files under the same path on all machines.")
    return make_classifier(model, settings)


def _work(
    classify_studies: Callable[[list[Study]], Iterator[Classified]],
    listed: StudyList,
    journal: Journal,
    contents: Contents,
) -> None:
    known = len({item["path"] for item in journal.items} & contents.files.keys())
    journal.keep(lambda path, content: path in contents.files and contents.digest(path) == content)
    done = {item["path"] for item in journal.items}
    left = [study for study in listed.studies if study.name not in done]
    if known > len(done):
        say(f"{known - len(done)} of them hold other images than before; they are classified anew")
    if done:
        say(f"{len(done)} of them were classified before; {len(left)} are left")
    try:
        with make_progress() as bar:
            task = bar.add_task("classifying", total=len(listed.studies), completed=len(done))
            for item, picture in classify_studies(left):
                journal.add(_checked(item, contents), picture, contents.digest(item["path"]))
                bar.advance(task)
    except KeyboardInterrupt:
        journal.close(remove=False)
        say(f"stopped after {len(journal.items)} of {len(listed.studies)}; type the same command with --resume")
        raise


def _checked(item: dict[str, Any], contents: Contents) -> dict[str, Any]:
    """A result, or none where its files, whose headers and copies would go with it, are no longer the same."""
    return item | NOTHING | {"reason": EXCHANGED} if contents.exchanged(item["path"]) else item


def _run(
    source: Path,
    model: Model,
    classifier: StudyClassifier,
    listed: StudyList,
    items: list[dict[str, Any]],
    settings: ClassifySettings,
) -> dict[str, Any]:
    return {
        "notice": NOTICE,
        "version": __version__,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": provenance.command(),
        "model": model_facts(model, settings.class_file),
        "rule": classifier.rule,
        "thresholds": classifier.thresholds,
        "counts": {
            "items": len(items),
            "unreadable": sum("unreadable" in item["flags"] for item in items),
            "ignored_files": listed.ignored,
            "flagged": sum(bool(item["flags"]) for item in items),
            "levels": count_levels(item["flags"] for item in items),
        },
        "input": source.name,
    }


def _write(
    folder: Path,
    run: dict[str, Any],
    journal: Journal,
    listed: StudyList,
    settings: ClassifySettings,
    viewers: Viewers,
) -> None:
    studies = {study.name: study for study in listed.studies}
    # in the order of the listed, whatever was resumed; an item that has gone since is left out
    numbers = {item["path"]: i for i, item in enumerate(journal.items)}
    order = [numbers[name] for name in studies if name in numbers]
    items = [journal.items[i] for i in order]
    shown = [studies[item["path"]] for item in items] if settings.with_patient_id else None
    table = predictions_csv(items, run["model"]["classes"], shown)
    write_atomically(folder / "predictions.csv", lambda file: file.write(table))
    write_json(
        folder / "predictions.json", {**run, "items": [{**item, "level": level_of(item["flags"])} for item in items]}
    )
    write_report(
        folder / "report.html",
        run,
        [{**item, "content": journal.content(i)} for i, item in zip(order, items, strict=True)],
        lambda i: journal.picture(order[i]) if items[i]["class"] is not None else None,
        choose_language(settings.language),
        viewers,
    )
    extra = _sorted_and_reported(folder, run, [(studies[item["path"]], item) for item in items], settings)
    details = {"settings": _shown(settings), "versions": provenance.versions(), "machine": provenance.machine()}
    record = {**run, **details, **extra}
    write_json(folder / "classification.json", record)
    if not (folder / "model.pt").is_file():  # the record of a training keeps its name
        write_json(folder / "run.json", record)  # the name until 0.1, for programs that read it; 0.3 writes it no more


def _shown(settings: ClassifySettings) -> dict[str, Any]:
    """Settings for the record, paths as `provenance.command` shows them."""
    values = asdict(settings).items()
    return {name: provenance.without_folders(str(v)) if isinstance(v, Path) else v for name, v in values}


def _sorted_and_reported(
    folder: Path, run: dict[str, Any], found: list[tuple[Study, dict[str, Any]]], settings: ClassifySettings
) -> dict[str, Any]:
    read = [(study, item) for study, item in found if item["class"] is not None]
    extra: dict[str, Any] = {}
    if settings.sort_into:
        failed = sort_studies(settings.sort_into, [(study, _sorted_under(item)) for study, item in read])
        extra["sorted"] = {"studies": len(read) - len(failed), "failed": _failures("not sorted:", failed)}
    if settings.dicom_sr:
        extra["structured_reports"] = _reported(folder, run, read)
    return extra


def _sorted_under(item: dict[str, Any]) -> str:
    return NOT_RECOGNISED if {"unknown", "looks different"} & set(item["flags"]) else str(item["class"])


def _failures(what: str, failed: list[tuple[str, str]]) -> list[dict[str, str]]:
    """Say what could not be done of which study, and why; the same for the record."""
    for name, reason in failed:
        say(f"{what} {name}: {reason}")
    return [{"study": name, "reason": reason} for name, reason in failed]


def _reported(folder: Path, run: dict[str, Any], read: list[tuple[Study, dict[str, Any]]]) -> dict[str, Any]:
    findings = [
        (
            study.study_uid,
            study.files,
            {
                "predicted_class": item["class"],
                "probabilities": item["probabilities"],
                "unknown_score": item["unknown"],
                "flags": item["flags"],
            },
        )
        for study, item in read
    ]
    reports = prepare_output_dir(folder / REPORTS)
    written = write_study_reports(
        reports, findings, {"model_sha256": run["model"]["sha256"], "about_classes": run["model"]["about_classes"]}
    )
    say(f"{len(written.files)} structured reports; {written.skipped} items are no DICOM")
    failed = _failures("no structured report of", written.failed)
    return {"written": len(written.files), "skipped": written.skipped, "failed": failed}


def _print(folder: Path, run: dict[str, Any]) -> None:
    counts = run["counts"]
    rate = counts["items"] / max(run["seconds"], 1e-9)
    for line in _lines(counts):
        say(line)
    say(f"{run['seconds']:.0f} s, {rate:.1f} a second. Open {folder / 'report.html'}. {NOTICE}")


def _lines(counts: dict[str, int]) -> Iterator[str]:
    yield (
        f"{counts['items']} classified"
        if not counts["unreadable"]
        else (f"{counts['items'] - counts['unreadable']} classified, {counts['unreadable']} unreadable")
    )
    if counts["flagged"]:
        yield f"{counts['flagged']} need a look: they come first in the report"
