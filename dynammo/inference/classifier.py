"""Studies in, results out: images are read ahead in threads, classified in batches, averaged over slices."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.transforms import Compose, EnsureTyped

from dynammo.data.preprocessing import preprocessing_of
from dynammo.errors import UserError
from dynammo.inference.engines import check_engine, make_engine
from dynammo.inference.graph import Output
from dynammo.inference.visualisation import heat_maps, heat_png, picture_jpeg
from dynammo.io.image_reader import frame_count
from dynammo.io.slides import tissue_tiles
from dynammo.io.studies import Study
from dynammo.networks.adapters import fused
from dynammo.runs.load import Model
from dynammo.runtime.claims import READING
from dynammo.training.worth import confidence_of

__all__ = ["Result", "StudyClassifier"]

NOTHING: dict[str, Any] = {
    "class": None,
    "probability": None,
    "probabilities": {},
    "unknown": None,
    "ood_score": None,
    "strangeness": None,
    "flags": ["unreadable"],
}
"""What a study comes to that cannot be read."""
MOST_SLICES = 2**16
MOST_NOTES = 3  # said of a study
View = str | list[str]


@dataclass(frozen=True)
class Result:
    """One study, classified or not.

    Attributes:
        item: what `dynammo.clinic.report.write_report` takes of an item.
        picture: JPEG and heat map as PNG, None where there is no image, or no class that a map could be of.
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
        self.shown_class: int | None = None  # that of the heat map


class StudyClassifier:
    """Classifies studies with a trained model; memory does not grow with their number.

    Args:
        model: what `dynammo.runs.load.load_model` gives.
        device: such as cpu or cuda:0.
        batch_size: images for each pass, which is filled up to it: results do not depend on who shares a pass.
        workers: threads that read images ahead.
        mask_corners: paint over the corners of pictures, where names may be burnt in.
        low_confidence: probability below which a class is flagged; None for the limit of the model.
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
        low_confidence: float | None = None,
        engine: str = "auto",
    ) -> None:
        check_engine(engine, device)
        self.network = fused(model.network).to(device)
        self.classes: list[str] = list(model.record["classes"])
        self.recipe: Mapping[str, Any] = model.record["config"]["recipe"]
        size = [int(model.record["config"]["image_size"])] * self.recipe["spatial_dims"]
        self.shape = (3, *size)  # of what the network takes
        self.engine = make_engine(engine, self.network, size, device, batch_size)
        trust = model.record.get("trust", {})
        self.thresholds: dict[str, float | None] = {
            "unknown": trust.get("unknown_threshold"),
            "false_alarm_rate": trust.get("false_alarm_rate"),
            "low_confidence": confidence_of(trust) if low_confidence is None else low_confidence,
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
        threads = torch.get_num_threads()
        try:
            with ThreadPoolExecutor(max(1, self.workers), initializer=torch.set_num_threads, initargs=(1,)) as pool:
                try:
                    yield pool
                finally:
                    pool.shutdown(wait=False, cancel_futures=True)  # who stops does not wait for what is read ahead
        finally:
            torch.set_num_threads(threads)  # what a thread sets is also the choice of threads yet to come

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
        except Exception as error:  # one bad image must not stop the others
            return _Pending(study, (), _sentence(error))

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
            if frames > MOST_SLICES:
                raise UserError(f"it has {frames} frames; at most {MOST_SLICES} are classified one by one.")
            views = [f"{files[0]}#{i}" for i in range(frames)] if frames > 1 else list(files)
            if frames > 1 and any(Path(view).is_file() for view in views):
                raise UserError("a file beside it has its name with # and a number; rename that one.")
            return list(views)
        return list(files)

    def _load(self, view: View, shown: bool) -> _Loaded:
        try:
            with READING.job():
                item = self._read({"image": view})
                picture, note = self._picture(item["image"]) if shown else (None, "")
                tensor = self._prepare(item)["image"]
            if tuple(tensor.shape) != self.shape:
                raise ValueError(f"it becomes {tuple(tensor.shape)} values where the network takes {self.shape}")
            odd = str(getattr(item["image"], "meta", {}).get("notes", ""))
            return _Loaded(tensor, picture, note="; ".join(filter(None, (odd, note))))
        except Exception as error:  # one bad image must not stop the others
            return _Loaded(None, None, _sentence(error))

    def _picture(self, image: Any) -> tuple[bytes | None, str]:  # noqa: ANN401
        try:
            return picture_jpeg(torch.as_tensor(image).numpy(), self.mask_corners), ""
        except Exception as error:  # it can be classified all the same
            return None, f"no picture of it can be made ({_sentence(error)})"

    def _finished(self, entry: _Pending, future: "Future[_Loaded]") -> tuple[_Pending, _Loaded | None]:
        loaded = future.result()
        if loaded.tensor is not None:
            entry.notes |= {loaded.note: None} if loaded.note else {}
            return entry, loaded
        _fail(entry, loaded.fault)
        return entry, None

    @torch.no_grad()
    def _predict(self, batch: list[tuple[_Pending, _Loaded]], fill: bool = True) -> None:
        images = [loaded.tensor for _, loaded in batch if loaded.tensor is not None]
        try:
            found = self.engine(self._filled(images) if fill else torch.stack(images))
        except Exception as error:  # of one image, or of the memory for so many
            if not fill:
                _fail(batch[0][0], f"the network failed at it ({_sentence(error)})")
                return
            for alone in batch:
                self._predict([alone], fill=False)
            return
        self._show(batch, found)
        for (entry, _), row in zip(batch, found.rows, strict=False):  # behind them what fills the batch up
            entry.total = row.double() if entry.total is None else entry.total + row
            entry.left, entry.seen = entry.left - 1, entry.seen + 1

    def _show(self, batch: list[tuple[_Pending, _Loaded]], found: Output) -> None:
        """Pictures and heat maps of a batch; what has no heat map has a picture still."""
        shown = [i for i, (_, loaded) in enumerate(batch) if loaded.picture is not None]
        classes = found.rows[:, :-2].argmax(1)
        try:  # of the whole batch: of fewer images kernels would round otherwise
            maps = heat_maps(self.network, found.maps, classes).numpy()[shown] if shown else ()
            heat: list[bytes | None] = [heat_png(image) for image in maps]
        except Exception:
            heat = [self._heat_alone(found, i, batch[i][0]) for i in shown]
        for i, png in zip(shown, heat, strict=True):
            batch[i][0].picture = batch[i][1].picture or b"", png
            batch[i][0].shown_class = int(classes[i])

    def _heat_alone(self, found: Output, number: int, entry: _Pending) -> bytes | None:
        try:
            maps = [[m[[number]] for m in branch] for branch in found.maps]
            return heat_png(heat_maps(self.network, maps, found.rows[[number], :-2].argmax(1)).numpy()[0])
        except Exception as error:  # it is classified all the same
            entry.notes |= {f"no heat map of it can be made ({_sentence(error)})": None}
            return None

    def _filled(self, images: list[torch.Tensor]) -> torch.Tensor:
        """A batch (B, C, ...) of always the same size, empty images behind these.

        Kernels are chosen by the number of images, and round otherwise: the last batch, or the first of work that is
        resumed, would give an image other digits than the same image gets in a full one.
        """
        return torch.stack([*images, *[torch.zeros_like(images[0])] * (self.batch_size - len(images))])

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
            return Result(item | NOTHING, None)
        *probabilities, unknown, ood_score = (entry.total / entry.seen).tolist()
        best = max(range(len(self.classes)), key=probabilities.__getitem__)
        found: dict[str, Any] = {
            "class": self.classes[best],
            "probability": probabilities[best],
            "probabilities": dict(zip(self.classes, probabilities, strict=True)),
            "unknown": unknown,
            "ood_score": ood_score,
            "strangeness": ood_score,  # its name in 0.1, beside the new one for one release
            "flags": self._flags(probabilities[best], unknown, ood_score),
        }
        # a heat map is of a class that is stated: none where a flag denies it, or the slice shown alone is another
        denied = {"looks different", "unknown"}.intersection(found["flags"]) or entry.shown_class != best
        return Result(item | found, (entry.picture[0], None) if entry.picture and denied else entry.picture)

    def _flags(self, probability: float, unknown: float, ood_score: float) -> list[str]:
        reached = (
            ("looks different", ood_score, self.thresholds["looks_different"]),
            ("unknown", unknown, self.thresholds["unknown"]),
            ("low confidence", -probability, -(self.thresholds["low_confidence"] or 0.0)),
        )
        return [name for name, value, limit in reached if limit is not None and value > limit]


def _fail(entry: _Pending, fault: str) -> None:
    entry.faults.append(fault)
    entry.left -= 1


def _sentence(error: BaseException) -> str:
    """The reason inside of what MONAI wraps around it."""
    found = error
    while not isinstance(found, UserError) and (inner := found.__cause__ or found.__context__):
        found = inner
    if isinstance(found, MemoryError):
        return "the memory does not suffice for it"
    return str(found).split("\n")[0] or type(found).__name__


def _reasons(entry: _Pending) -> str:
    if not entry.faults:
        return "; ".join(list(entry.notes)[:MOST_NOTES])
    if not entry.seen and len(entry.faults) == 1:
        return entry.faults[0]
    return f"{len(entry.faults)} of {len(entry.views)} images of it cannot be read; the first: {entry.faults[0]}"
