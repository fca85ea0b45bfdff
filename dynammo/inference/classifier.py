"""Studies in, results out: images are read ahead in threads, classified in batches, averaged over slices."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from monai.transforms import Compose, EnsureTyped

from dynammo.data.preprocessing import preprocessing_of
from dynammo.errors import UserError
from dynammo.inference.engines import check_engine, make_engine
from dynammo.inference.visualisation import heat_maps, heat_png, picture_jpeg
from dynammo.io.image_reader import frame_count
from dynammo.io.slides import tissue_tiles
from dynammo.io.studies import Study
from dynammo.networks.adapters import fused
from dynammo.runs.load import Model

__all__ = ["Result", "StudyClassifier"]

LOW_CONFIDENCE = 0.5
MOST_NOTES = 3  # said of a study
View = str | list[str]


@dataclass(frozen=True)
class Result:
    """One study, classified or not.

    Attributes:
        item: what `dynammo.clinic.report.write_report` takes of an item.
        picture: JPEG and heat map as PNG, None where there is no image.
    """

    item: dict[str, Any]
    picture: tuple[bytes, bytes | None] | None


@dataclass(frozen=True)
class _Loaded:
    """A view after preprocessing, or why there is none."""

    tensor: torch.Tensor | None
    picture: bytes | None
    fault: str = ""
    note: str = ""  # what was odd about it, though it was read


class _Pending:
    """A study while its views come in."""

    def __init__(self, study: Study, views: Sequence[View], fault: str = "") -> None:
        self.study, self.views, self.faults = study, views, [fault] if fault else []
        self.left, self.seen = len(views), 0
        self.notes = {study.note: None} if study.note else {}
        self.total: torch.Tensor | None = None  # (K + 2,): probabilities, unknown, ood_score
        self.picture: tuple[bytes, bytes | None] | None = None


class StudyClassifier:
    """Classifies studies with a trained model; memory does not grow with their number.

    Args:
        model: what `dynammo.runs.load.load_model` gives.
        device: such as cpu or cuda:0.
        batch_size: images for each pass.
        workers: threads that read images ahead.
        mask_corners: paint over the corners of pictures, where names may be burnt in.
        low_confidence: probability below which a class is flagged.
        engine: what computes, see `dynammo.inference.engines.make_engine`.

    Raises:
        UserError: a model whose `run.json` lacks the recipe, or an engine that is not there.
    """

    def __init__(
        self,
        model: Model,
        device: str = "cpu",
        batch_size: int = 16,
        workers: int = 2,
        mask_corners: bool = False,
        low_confidence: float = LOW_CONFIDENCE,
        engine: str = "auto",
    ) -> None:
        check_engine(engine, device)
        self.threads = torch.get_num_threads()
        self.network = fused(model.network).to(device)
        self.classes: list[str] = list(model.record["classes"])
        self.recipe: Mapping[str, Any] = model.record["config"]["recipe"]
        size = [int(model.record["config"]["image_size"])] * self.recipe["spatial_dims"]
        self.engine = make_engine(engine, self.network, size, device, batch_size)
        trust = model.record.get("trust", {})
        self.thresholds: dict[str, float | None] = {
            "unknown": trust.get("unknown_threshold"),
            "false_alarm_rate": trust.get("false_alarm_rate"),
            "low_confidence": low_confidence,
            "looks_different": trust.get("out_of_distribution_threshold"),
        }
        self.batch_size, self.workers, self.mask_corners = batch_size, workers, mask_corners
        steps = preprocessing_of(model.record).transforms
        first = next(i for i, step in enumerate(steps) if isinstance(step, EnsureTyped))
        self._read, self._prepare = Compose(steps[:first]), Compose(steps[first:])  # up to there it is a picture

    @property
    def rule(self) -> str:
        """How several slices or tiles become one prediction, in words."""
        kind = {"middle": "the middle slice", "maximum": "the maximum projection", "slices": "every slice"}
        if self.recipe["spatial_dims"] == 3:
            return "volumes are classified whole"
        return (
            f"of a volume {kind[self.recipe['volumes']]} is classified; probabilities are the mean over the files of a "
            "series, over slices and over the tiles of a slide"
        )

    def classify(self, studies: Iterable[Study]) -> Iterator[Result]:
        """Yield one result for each study, in order."""
        pending: deque[_Pending] = deque()
        batch: list[tuple[_Pending, _Loaded]] = []
        with self._readers() as pool:
            for entry, loaded in self._loaded(studies, pool, pending):
                if loaded is not None:
                    batch.append((entry, loaded))
                if len(batch) == self.batch_size:
                    self._predict(batch)
                    batch.clear()
                while pending and not pending[0].left:
                    yield self._result(pending.popleft())
            if batch:
                self._predict(batch)
            while pending:
                yield self._result(pending.popleft())

    @contextmanager
    def _readers(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that compute on one core each: the others are the network's."""
        try:
            with ThreadPoolExecutor(max(1, self.workers), initializer=torch.set_num_threads, initargs=(1,)) as pool:
                yield pool
        finally:
            torch.set_num_threads(self.threads)  # what a thread sets is also the choice of threads yet to come

    def _loaded(
        self, studies: Iterable[Study], pool: ThreadPoolExecutor, pending: deque[_Pending]
    ) -> Iterator[tuple[_Pending, _Loaded | None]]:
        """Views in order, a bounded number of them read ahead."""
        ahead: deque[tuple[_Pending, Future[_Loaded]]] = deque()
        jobs = self._jobs(studies, pending)
        for entry, view, shown in jobs:
            ahead.append((entry, pool.submit(self._load, view, shown)))
            if len(ahead) > 2 * self.batch_size:
                yield self._finished(*ahead.popleft())
        while ahead:
            yield self._finished(*ahead.popleft())

    def _jobs(self, studies: Iterable[Study], pending: deque[_Pending]) -> Iterator[tuple[_Pending, View, bool]]:
        for study in studies:
            entry = self._open(study)
            pending.append(entry)
            for i, view in enumerate(entry.views):
                yield entry, view, i == len(entry.views) // 2

    def _open(self, study: Study) -> _Pending:
        if study.reason:
            return _Pending(study, (), study.reason)
        try:
            return _Pending(study, self._views(study))
        except UserError as error:
            return _Pending(study, (), str(error))

    def _views(self, study: Study) -> list[View]:
        """What the network sees of a study, one after the other."""
        files = [str(file) for file in study.files]
        if study.format == "slide":
            tiles = tissue_tiles(files[0])
            if not tiles:
                raise UserError("no tissue was found on the slide.")
            return list(tiles)
        if len(files) > 1:
            whole = self.recipe["spatial_dims"] == 3 or self.recipe["volumes"] == "maximum"
            return [files] if whole else list(files)
        if self.recipe["spatial_dims"] == 2 and self.recipe["volumes"] == "slices":
            frames = frame_count(files[0])
            return [f"{files[0]}#{i}" for i in range(frames)] if frames > 1 else list(files)
        return list(files)

    def _load(self, view: View, shown: bool) -> _Loaded:
        try:
            item = self._read({"image": view})
            picture = picture_jpeg(torch.as_tensor(item["image"]).numpy(), self.mask_corners) if shown else None
            note = str(getattr(item["image"], "meta", {}).get("notes", ""))
            return _Loaded(self._prepare(item)["image"], picture, note=note)
        except Exception as error:  # one bad image must not stop the others
            return _Loaded(None, None, _sentence(error))

    def _finished(self, entry: _Pending, future: "Future[_Loaded]") -> tuple[_Pending, _Loaded | None]:
        loaded = future.result()
        if loaded.tensor is not None:
            entry.notes |= {loaded.note: None} if loaded.note else {}
            return entry, loaded
        entry.faults.append(loaded.fault)
        entry.left -= 1
        return entry, None

    @torch.no_grad()
    def _predict(self, batch: list[tuple[_Pending, _Loaded]]) -> None:
        rows, maps = self.engine(torch.stack([loaded.tensor for _, loaded in batch if loaded.tensor is not None]))
        shown = [i for i, (_, loaded) in enumerate(batch) if loaded.picture is not None]
        if shown:
            chosen = [[m[shown] for m in branch] for branch in maps]
            heat = heat_maps(self.network, chosen, rows[shown, :-2].argmax(1)).numpy()
            for i, image in zip(shown, heat, strict=True):
                entry, loaded = batch[i]
                entry.picture = loaded.picture or b"", heat_png(image)
        for (entry, _), row in zip(batch, rows, strict=True):
            entry.total = row.double() if entry.total is None else entry.total + row
            entry.left, entry.seen = entry.left - 1, entry.seen + 1

    def _result(self, entry: _Pending) -> Result:
        study = entry.study
        item: dict[str, Any] = {
            "path": study.name,
            "files": len(study.files),
            "slices": entry.seen,
            "format": study.format,
            "modality": study.modality,
            "study_uid": study.study_uid,
            "series_uid": study.series_uid,
            "instance_uid": study.instance_uid,
            "reason": _reasons(entry),
        }
        if entry.total is None:
            nothing: dict[str, Any] = {
                "class": None,
                "probability": None,
                "probabilities": {},
                "unknown": None,
                "ood_score": None,
                "strangeness": None,
            }
            return Result(item | nothing | {"flags": ["unreadable"]}, None)
        *probabilities, unknown, ood_score = (entry.total / entry.seen).tolist()
        best = max(range(len(self.classes)), key=probabilities.__getitem__)
        found = {
            "class": self.classes[best],
            "probability": probabilities[best],
            "probabilities": dict(zip(self.classes, probabilities, strict=True)),
            "unknown": unknown,
            "ood_score": ood_score,
            "strangeness": ood_score,  # its name in 0.1, beside the new one for one release
            "flags": self._flags(probabilities[best], unknown, ood_score),
        }
        return Result(item | found, entry.picture)

    def _flags(self, probability: float, unknown: float, ood_score: float) -> list[str]:
        reached = (
            ("looks different", ood_score, self.thresholds["looks_different"]),
            ("unknown", unknown, self.thresholds["unknown"]),
            ("low confidence", -probability, -(self.thresholds["low_confidence"] or 0.0)),
        )
        return [name for name, value, limit in reached if limit is not None and value > limit]


def _sentence(error: BaseException | None) -> str:
    """The reason inside of what MONAI wraps around it."""
    found = error
    while error is not None:
        found = error
        if isinstance(error, UserError):
            break
        error = error.__cause__ or error.__context__
    return str(found).split("\n")[0]


def _reasons(entry: _Pending) -> str:
    if not entry.faults:
        return "; ".join(list(entry.notes)[:MOST_NOTES])
    if not entry.seen and len(entry.faults) == 1:
        return entry.faults[0]
    return f"{len(entry.faults)} of {len(entry.views)} images of it cannot be read; the first: {entry.faults[0]}"
