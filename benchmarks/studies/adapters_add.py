"""What adapters could add to frozen features under analytic heads: docs/results/adapters_add.json.

Type `python -m benchmarks.studies.adapters_add DATASET RUN [WAY ...]` from the repository root: DATASET is the name of
an overlay in configs/datasets, RUN a finished run of methods/acl.yaml, whose adapters, one for each task, are taken as
they are, WAY one of `Study.ways`, all if left out.
Every way of using them gets the same closed-form heads, computed after every task: balanced LDA, taps, moments and
square root of methods/analytic.yaml, but for speed neither the central half nor mirrored copies, and 2 folds to choose
the shrinkage. "All images" recomputes the statistics from the images of all tasks, which no method may keep: an upper
line for what the features of merged adapters hold.
"""

import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from monai.bundle import ConfigParser
from monai.data import Dataset

from dynammo.heads.analytic import ClassStatistics, choose, lda
from dynammo.heads.cross_validation import fit_with_folds
from dynammo.merging import State, average, fisher, ties
from dynammo.networks.incremental_network import IncrementalNetwork
from dynammo.networks.merged_classifier import MergedClassifier
from dynammo.runs.contributions import load_contribution
from dynammo.runs.record import FOLDER
from dynammo.runtime import provenance
from dynammo.runtime.files import load_state, write_json
from dynammo.training.prediction import extract_features

RESULT = Path("docs/results/adapters_add.json")
IMAGES = 256  # of each task, for RegMean and Fisher
TRANSPOSED = "branch.3"  # of an adapter
Features = Callable[[int], torch.Tensor]  # features (N, F) of all training, then all test images after a task
Run = Annotated[Path, typer.Argument(exists=True, file_okay=False)]
Wanted = Annotated[list[str] | None, typer.Argument(metavar="WAY")]


def main(dataset: str, run: Run, wanted: Wanted = None) -> None:
    """Measure every way, or those wanted."""
    study = study_of(dataset, run)
    ways = study.ways()
    for name in known(wanted, ways):
        record(study, name, study.recalls(*ways[name]))


def known(wanted: list[str] | None, ways: Iterable[str]) -> list[str]:
    """The ways that are wanted, all if none is named.

    Raises:
        typer.BadParameter: a name that is not one of them.
    """
    names = list(ways)
    if strange := [name for name in wanted or () if name not in names]:
        raise typer.BadParameter(f"{strange[0]!r} is not one of {', '.join(map(repr, names))}")
    return wanted or names


def study_of(dataset: str, run: Path) -> "Study":
    """The images of a data set in the order of a finished run, and what its tasks fitted."""
    if not Path(f"configs/datasets/{dataset}.yaml").is_file():
        raise typer.BadParameter(f"no configs/datasets/{dataset}.yaml in this folder; start in the repository's root")
    if not (run / FOLDER).is_dir():
        raise typer.BadParameter(f"{run} is no finished run of methods/acl.yaml: it has no {FOLDER}")
    settings = json.loads((run / "run.json").read_text())
    parser = ConfigParser()
    overlays = [f"configs/{kind}/{name}.yaml" for kind, name in (("datasets", dataset), ("methods", "analytic"))]
    parser.read_config(["bundle/configs/train.yaml", *overlays])
    same = {key: settings["config"][key] for key in ("increments", "class_order", "seed")}
    parser.update({**same, "adapter": "conv", "pool_centre": False})
    network = parser.get_parsed_content("network_def").eval()
    fitted = [fitted_in(run, i) for i in range(len(settings["tasks"]))]
    origin = load_state(run / "checkpoint.pt")["handlers"]["MergeAdapters"]["origin"]
    return Study(dataset, settings["seed"], parser, network, fitted, origin)


def record(study: "Study", name: str, recalls: list[float]) -> None:
    """Print what a way gives and put it into the result file, by data set and seed."""
    average_recall = f"{100 * sum(recalls) / len(recalls):5.1f}" if len(recalls) > 1 else "    -"
    print(f"{name:45s} {average_recall} {100 * recalls[-1]:5.1f}", flush=True)
    known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    known.setdefault(study.dataset, {}).setdefault(str(study.seed), {})[name] = recalls
    write_json(RESULT, known | provenance.origin())


def fitted_in(run: Path, task: int) -> dict[str, State]:
    """What stage 1 made of the `adapters` and the `head` in a task."""
    contribution = load_contribution(run / FOLDER, task)
    assert contribution is not None, f"{run} has not kept task {task + 1}"
    merged: dict[str, State] = contribution["handlers"]["MergeAdapters"]
    return {name: merged[name] for name in ("adapters", "head")}


class Study:
    """All images of a data set, and the adapters of each task of a run."""

    def __init__(
        self,
        dataset: str,
        seed: int,
        parser: ConfigParser,
        network: IncrementalNetwork,
        fitted: list[dict[str, State]],
        origin: State,
    ) -> None:
        self.dataset, self.seed = dataset, seed
        self.parser, self.network = parser, network
        self.fitted, self.heads = ([of_task[part] for of_task in fitted] for part in ("adapters", "head"))
        data, self.tasks = parser.get_parsed_content("data"), list(parser.get_parsed_content("tasks"))
        self.train = [item for task in self.tasks for item in data.train(task)]
        items, transform = self.train + data.test(), parser.get_parsed_content("preprocessing")
        self.images = [{"image": transform(dict(item))["image"], "label": item["label"]} for item in items]
        self.labels = torch.tensor([item["label"] for item in items])
        self.origin = origin  # as stage 1 of the first task found the adapters
        self.cache: dict[str, torch.Tensor] = {}

    def ways(self) -> dict[str, tuple[Features, bool | None]]:
        """Name of each way -> features after a task, and whether statistics of earlier tasks are transported."""
        frozen = self.features("frozen", None)
        first = self.features("average 0", self.fitted[0])
        merges = {"average": average, "ties": ties, "magmax": magmax}
        merged = {name: self.of_merge(name, merge) for name, merge in merges.items()}
        return {
            "frozen": (lambda task: frozen, False),
            "adapters of the first task": (lambda task: first, False),
            "adapters of the first task beside frozen": (lambda task: torch.cat([frozen, first], 1), False),
            "merged (average), stale statistics": (merged["average"], False),
            "merged (average), statistics transported": (merged["average"], True),
            "merged beside frozen, transported": (lambda task: torch.cat([frozen, merged["average"](task)], 1), True),
            "merged (average), all images": (merged["average"], None),
            "merged (ties), all images": (merged["ties"], None),
            "merged (magmax), all images": (merged["magmax"], None),
            "merged (RegMean), all images": (self.of_regmean, None),
            "merged (fisher), all images": (self.of_fisher, None),
            "merged beside frozen, all images": (lambda task: torch.cat([frozen, merged["average"](task)], 1), None),
        }

    def of_merge(self, name: str, merge: Any) -> Features:  # noqa: ANN401
        """Features of the adapters of the tasks so far, merged."""

        def features(task: int) -> torch.Tensor:
            states = self.fitted[: task + 1]
            return self.features(f"{name} {task}", merge(states, [1.0] * len(states), self.origin))

        return features

    def of_regmean(self, task: int) -> torch.Tensor:
        """Features of the adapters of all tasks, merged by RegMean, whatever the task."""
        if "regmean" not in self.cache:
            self.features("regmean", regmean(self.fitted, self.grams(), self.origin))
        return self.cache["regmean"]

    def of_fisher(self, task: int) -> torch.Tensor:
        """Features of the adapters of all tasks, merged by Fisher information, whatever the task."""
        if "fisher" not in self.cache:
            self.features("fisher", fisher(self.fitted, self.importances(), self.origin))
        return self.cache["fisher"]

    def features(self, name: str, state: State | None) -> torch.Tensor:
        """Features (N, F) of all images."""
        if name not in self.cache:
            self.cache[name] = self.features_of(self.classifier(state))
        return self.cache[name]

    def features_of(self, classifier: MergedClassifier) -> torch.Tensor:
        """Features (N, F) of all images in a network of one branch."""
        return extract_features(classifier, Dataset(self.images), 32)[0][0]

    def network_with(self, adapter: str) -> IncrementalNetwork:
        """A network whose adapters, of this kind, start as those of the run started."""
        self.parser["adapter"] = adapter
        network: IncrementalNetwork = self.parser.get_parsed_content("network_def", instantiate=True)
        if adapter == "conv":
            network.adapters.load_state_dict(self.origin)
        return network.eval()

    def classifier(self, state: State | None) -> MergedClassifier:
        """The network with these adapters, or none."""
        spec = {**self.network.spec, "others": False, "adapter": "none" if state is None else "conv"}
        classifier = MergedClassifier([1], **spec).eval()
        classifier.backbone.load_state_dict(self.network.backbone.state_dict())
        if state is not None:
            classifier.branches[0].load_state_dict(state)
        return classifier

    def grams(self) -> list[dict[str, torch.Tensor]]:
        """Of the adapters of each task on its own images."""
        rows = [self.rows(task.labels)[:IMAGES] for task in self.tasks]
        return [
            input_grams(self.classifier(state), [self.images[i] for i in here])
            for state, here in zip(self.fitted, rows, strict=True)
        ]

    def importances(self) -> list[State]:
        """Fisher information of the adapters of each task, through its head on its own images."""
        parts = zip(self.fitted, self.heads, self.tasks, strict=True)
        return [
            fisher_information(
                self.classifier(state),
                head,
                [self.images[i] for i in self.rows(task.labels)[:IMAGES]],
                task.labels.start,
            )
            for state, head, task in parts
        ]

    def recalls(self, features: Features, transported: bool | None) -> list[float]:
        """Mean class recall after every task; after the last one alone where statistics come from all images.

        Args:
            features: of all images after a task.
            transported: move the statistics of earlier classes by what the new images say the features moved
                (an affine map by ridge regression); None recomputes them from all images.
        """
        known, losses, recalls = ClassStatistics.empty(features(0).shape[1]), [], []
        for task in self.tasks:
            now, rows = features(task.index if transported is not None else len(self.tasks) - 1), self.rows(task.labels)
            if transported and task.index > 0:
                known = transport(known, features(task.index - 1)[rows], now[rows])
            fitted = fit_with_folds(known, now[rows][:, None], self.labels[rows], "lda", folds=2)
            losses.append(fitted.losses)
            known = fitted.statistics
            recalls.append(self.recall(known, torch.cat(losses), now))
        return recalls if transported is not None else recalls[-1:]

    def recall(self, known: ClassStatistics, losses: torch.Tensor, features: torch.Tensor) -> float:
        """Mean recall of the known classes on their test images."""
        test = torch.arange(len(self.labels)) >= len(self.train)
        test &= self.labels < len(known.counts)
        truth, predicted = self.labels[test], lda(known, [choose(losses)[0]]).logits(features[test])[0].argmax(1)
        return float(torch.stack([(predicted[truth == c] == c).double().mean() for c in truth.unique()]).mean())

    def rows(self, labels: range) -> torch.Tensor:
        """Rows of the training images of some classes."""
        here = torch.tensor([label in labels for label in self.labels[: len(self.train)].tolist()])
        return here.nonzero()[:, 0]


def transport(known: ClassStatistics, before: torch.Tensor, after: torch.Tensor) -> ClassStatistics:
    """Statistics moved by the affine map that takes the features of the new images from before to after."""
    x, y = before.double(), after.double()
    centre, moved = x.mean(0), y.mean(0)
    a, b = x - centre, (y - moved) - (x - centre)
    inner = a.T @ a
    change = torch.linalg.solve(inner + 0.1 * inner.diagonal().mean() * torch.eye(len(inner)), a.T @ b)
    matrix = torch.eye(len(inner), dtype=torch.float64) + change  # f -> (f - centre) matrix + moved
    means = (known.means - centre) @ matrix + moved
    gram = len(means) * (matrix.T @ known.within @ matrix) + means.T @ means
    return ClassStatistics(known.counts, means * known.counts[:, None], gram)


def magmax(states: list[State], weights: list[float], origin: State) -> State:
    """Of every parameter the largest change since the origin (MagMax, arXiv 2407.06322)."""
    merged = average(states, weights, origin)
    for name, start in origin.items():
        if start.is_floating_point() and "running_" not in name:
            change = torch.stack([state[name] - start for state in states])
            merged[name] = start + change.gather(0, change.abs().argmax(0, keepdim=True))[0]
    return merged


def regmean(states: list[State], grams: list[dict[str, torch.Tensor]], origin: State) -> State:
    """Convolutions that give what each task's gave on its own images, by least squares; the rest by mean.

    RegMean (Jin et al., arXiv 2212.09849), what lies beside the diagonal shrunk to 0.9.
    """
    merged = average(states, [1.0] * len(states), origin)
    for name in grams[0]:
        inner = [0.9 * gram[name] + 0.1 * gram[name].diagonal().diag() for gram in grams]
        mean = as_rows(name, merged[name]).double()  # stays where no input is seen
        wanted = [(as_rows(name, state[name]) - mean) @ gram for state, gram in zip(states, inner, strict=True)]
        total = sum(inner[1:], inner[0])
        ridge = 1e-6 * total.diagonal().mean() * torch.eye(len(total))
        rows = mean + torch.linalg.solve(total + ridge, sum(wanted[1:], wanted[0]).T).T
        merged[name] = from_rows(name, rows.to(merged[name].dtype), merged[name].shape)
    return merged


def fisher_information(
    classifier: MergedClassifier, head: State, images: list[dict[str, Any]], first: int
) -> dict[str, torch.Tensor]:
    """Diagonal empirical Fisher information of the adapters, as `dynammo.handlers.handlers` computes it.

    Args:
        classifier: with the adapters of a task.
        head: weight and bias over the classes of the task and "others", on the mean of the last map.
        images: of the task.
        first: label of its first class.
    """
    names = dict(classifier.branches[0].named_parameters())
    squared = {name: torch.zeros_like(parameter) for name, parameter in names.items()}
    for start in range(0, len(images), 32):
        batch = images[start : start + 32]
        labels = torch.tensor([image["label"] - first for image in batch])
        last = classifier.maps(torch.stack([image["image"] for image in batch]))[0][-1]
        logits = torch.nn.functional.linear(last.mean((2, 3)), head["weight"], head["bias"])
        loss = torch.nn.functional.cross_entropy(logits, labels)
        for name, grad in zip(names, torch.autograd.grad(loss, list(names.values())), strict=True):
            squared[name] += grad.square() * len(labels)
    return {**squared, "tasks": torch.tensor(1.0)}


def input_grams(classifier: MergedClassifier, images: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Gram matrices (9 C, 9 C) of the patches that each convolution of the adapters sees, by the weight's name."""
    grams: dict[str, torch.Tensor] = {}

    def see(name: str, module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> None:
        border = 2 if isinstance(module, torch.nn.ConvTranspose2d) else 0
        patches = torch.nn.functional.unfold(inputs[0], 3, padding=border).transpose(1, 2).flatten(0, 1)
        grams[name] = grams.get(name, 0) + (patches.T @ patches).double()

    for name, module in classifier.branches[0].named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
            module.register_forward_pre_hook(partial(see, f"{name}.weight"))
    with torch.inference_mode():
        for start in range(0, len(images), 32):
            classifier.maps(torch.stack([image["image"] for image in images[start : start + 32]]))
    return grams


def as_rows(name: str, weight: torch.Tensor) -> torch.Tensor:
    """A kernel (C, C, 3, 3) as rows over input patches; a transposed convolution is one with a turned kernel."""
    return (weight.transpose(0, 1).flip(2, 3) if TRANSPOSED in name else weight).flatten(1)


def from_rows(name: str, rows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The kernel of `as_rows`."""
    kernel = rows.view(shape)
    return kernel.flip(2, 3).transpose(0, 1).contiguous() if TRANSPOSED in name else kernel


if __name__ == "__main__":
    typer.run(main)
