"""`dynammo classify --features`: a file of embeddings becomes a table of classes, and a record."""

import time
from pathlib import Path
from typing import Any

from dynammo import NOTICE, __version__
from dynammo.data.feature_increments import fitting
from dynammo.data.features import FeatureTable, read_features
from dynammo.errors import UserError
from dynammo.runs.load import Model, load_model
from dynammo.runtime import provenance
from dynammo.runtime.files import prepare_output_dir, sha256, write_atomically, write_json
from dynammo.runtime.locking import lock_folder
from dynammo.runtime.plain import expanded, rounded, say
from dynammo.runtime.tables import csv_bytes
from dynammo.training.worth import confidence_of

__all__ = ["classify_features"]

BATCH = 4096
DIGITS = 6  # decimals in the table


def classify_features(
    file: Path, output_dir: Path, model: Path | None, low_confidence: float | None = None, average: str | None = None
) -> list[dict[str, Any]]:
    """Classify the vectors of a file; labels that it may hold are not looked at.

    Args:
        file: see `dynammo.data.features.read_features`.
        output_dir: folder for `predictions.csv` and `classification.json`.
        model: run that has learnt embeddings.
        low_confidence: flag classes less probable than this; None for the limit of the model.
        average: see `read_features`; None for what the model has learnt, and mean probabilities of slides.

    Returns:
        The rows of the table.

    Raises:
        UserError: no model, one of images, no such file, other vectors than the model has learnt, such as means.
    """
    if model is None:
        raise UserError("give --model the run that has learnt embeddings (dynammo train --features FILE -o RUN).")
    started = time.perf_counter()
    loaded = load_model(model, vectors=True)
    table = read_features(file, labelled=False, average=_average(average, loaded))
    fitting(table, loaded.record, str(file))
    folder = prepare_output_dir(output_dir)
    lock = lock_folder(folder, "classification", "--output")
    try:
        rows = _rows(table, loaded, low_confidence)
        content = csv_bytes(list(rows[0]), rows)
        write_atomically(folder / "predictions.csv", lambda stream: stream.write(content))
        write_json(folder / "classification.json", _record(file, loaded, rows, started))
    finally:
        lock.release()
    flagged = sum(bool(row["flags"]) for row in rows)
    say(f"{len(rows)} vectors classified, {flagged} need a look: {folder / 'predictions.csv'}. {NOTICE}")
    return rows


def _average(asked: str | None, model: Model) -> str | None:
    """What to average, as it was asked, else as the model has learnt."""
    learnt = str(model.record["config"].get("average", "none"))
    if asked is not None and (asked == "vectors") != (learnt == "vectors"):
        known = "means of" if learnt == "vectors" else "single"
        raise UserError(f"--average is {asked}, but {model.name} has learnt {known} vectors; leave it out.")
    return asked or (None if learnt == "none" else learnt)


def _rows(table: FeatureTable, model: Model, low_confidence: float | None) -> list[dict[str, Any]]:
    import torch

    from dynammo.training.metrics import study_means

    classes, trust = list(model.record["classes"]), model.record.get("trust", {})
    unknown_limit = trust.get("unknown_threshold")
    sure = confidence_of(trust) if low_confidence is None else low_confidence
    with torch.no_grad():
        batches = torch.from_numpy(table.vectors)[:, :, None, None].split(BATCH)  # type: ignore[no-untyped-call]
        columns = [torch.cat(parts).numpy() for parts in zip(*map(model.network.classify, batches), strict=True)]
    names, _, (probabilities, scores) = study_means(table.studies, *columns)
    rows = []
    for name, shares, (unknown,) in zip(names, probabilities.tolist(), scores.tolist(), strict=True):
        best = max(range(len(classes)), key=shares.__getitem__)
        flags = [
            *["unknown"] * (unknown_limit is not None and unknown > unknown_limit),
            *["low confidence"] * (shares[best] < sure),
        ]
        rows.append(
            {
                "id": name,
                "predicted_class": classes[best],
                "probability": rounded(shares[best], DIGITS),
                "unknown": rounded(unknown, DIGITS),
                "flags": "; ".join(flags),
                **{f"p_{of}": rounded(share, DIGITS) for of, share in zip(classes, shares, strict=True)},
            }
        )
    return rows


def _record(file: Path, model: Model, rows: list[dict[str, Any]], started: float) -> dict[str, Any]:
    return {
        "dynammo": __version__,
        "features": {"file": expanded(file).name, "sha256": sha256(expanded(file))},
        "model": {"name": model.name, "sha256": model.sha256, "classes": list(model.record["classes"])},
        "counts": {"items": len(rows), "flagged": sum(bool(row["flags"]) for row in rows)},
        "seconds": time.perf_counter() - started,
        "versions": provenance.versions(),
        "machine": provenance.machine(),
        "notice": NOTICE,
    }
