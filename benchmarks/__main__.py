"""`python -m benchmarks ...`: parses and calls one function, imported inside the command as in `dynammo/cli.py`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from dynammo.cli import run_app
from dynammo.errors import UserError

__all__ = ["app", "main"]

app = typer.Typer(name="benchmarks", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def classify(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    jpeg: Annotated[int, typer.Option(help="Photographs.")] = 2000,
    dicom: Annotated[int, typer.Option(help="DICOM images.")] = 200,
) -> None:
    """Compare `dynammo classify` from end to end with the network alone; its memory; its first line."""
    from benchmarks.classify import SpeedSettings, benchmark_classify

    benchmark_classify(SpeedSettings(jpeg=jpeg, dicom=dicom), json)


@app.command()
def features(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    vectors: Annotated[int, typer.Option(help="Vectors that are learnt and tested.")] = 100_000,
    width: Annotated[int, typer.Option(help="Features of each.")] = 1024,
    classes: Annotated[int, typer.Option(help="Classes.")] = 20,
    classes_per_task: Annotated[str, typer.Option(help="As dynammo train takes it.")] = "all",
) -> None:
    """Learn drawn embeddings: the bar is 10 s for 100,000 of 1,024 features in 20 classes on two cores."""
    from benchmarks.embeddings import EmbeddingsSettings, benchmark_embeddings

    benchmark_embeddings(EmbeddingsSettings(vectors, width, classes, classes_per_task), json)


@app.command()
def inference(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    image_size: Annotated[int, typer.Option(help="Height and width of an image in pixels.")] = 224,
    batch_size: Annotated[int, typer.Option(help="Images for each pass.")] = 16,
    stages: Annotated[int, typer.Option(help="Layers of the ResNet kept, 1 to 4.")] = 4,
    repeats: Annotated[int, typer.Option(help="Measurements of each contender, interleaved.")] = 10,
    threads: Annotated[int | None, typer.Option(help="Threads of every engine; PyTorch's choice if left out.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
) -> None:
    """Compare what classification runs with the plain backbone, in every engine that is installed."""
    from benchmarks.inference import InferenceSettings, benchmark_inference

    settings = InferenceSettings(
        image_size, batch_size, stages, repeats=repeats, threads=threads, engines=tuple(engine) if engine else None
    )
    benchmark_inference(settings, json)


@app.command()
def precision(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
) -> None:
    """Count how often every engine names the same class as PyTorch in float32, on the benchmark sets."""
    from benchmarks.precision import benchmark_precision

    benchmark_precision(engine, json)


@app.command()
def robustness(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs, whose test images are at hand.")],
    change: Annotated[
        list[str] | None, typer.Option(help="Only this one (0.8 x, border ...); may be repeated.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
) -> None:
    """Change the test images of trained runs as other cameras or mistakes would, and classify them."""
    from benchmarks.robustness import benchmark_robustness

    benchmark_robustness(runs, tuple(change or ()), json)


@app.command()
def heatmaps(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs of images, whose test images are at hand.")],
    images: Annotated[int, typer.Option(min=1, help="Test images of each run, drawn at random.")] = 128,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
) -> None:
    """Measure whether heat maps point at what predictions depend on, beside other maps and occlusion."""
    from benchmarks.heat_maps import benchmark_heat_maps

    benchmark_heat_maps(runs, images, json)


@app.command()
def unknown(
    dataset: Annotated[list[str] | None, typer.Option("--set", help="Only this one; may be given again.")] = None,
    features: Annotated[Path | None, typer.Option(help="Keep the features of the frozen network here.")] = None,
    copies: Annotated[bool, typer.Option(help="Learn mirrored and photometric copies too; six times as long.")] = True,
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
) -> None:
    """Compare scores of images of unknown classes, and hold their false alarms against the stated rate."""
    from benchmarks.material import SETS
    from benchmarks.unknown import benchmark_unknown

    benchmark_unknown(dataset or SETS, json, features, copies)


@app.command()
def reading(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    size: Annotated[int, typer.Option(help="Height and width of an image in pixels.")] = 512,
    repeats: Annotated[int, typer.Option(help="Measurements of each contender, interleaved.")] = 5,
    run: Annotated[Path | None, typer.Option(help="Large JPEGs instead: a run that classifies them.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder of pictures that are enlarged for it.")] = None,
    megapixels: Annotated[list[float] | None, typer.Option(help="Size they get; may be given again.")] = None,
    grain: Annotated[float, typer.Option(help="Noise that they get, as deviation, of 255.")] = 0.0,
    smallest: Annotated[int | None, typer.Option(help="Pixels a side of them that are enough; see there.")] = None,
) -> None:
    """Compare reading with the bare library of each format, or large JPEGs at a reduced scale with whole ones."""
    from benchmarks.reading import ReadingSettings, benchmark_reading
    from benchmarks.reduced_jpegs import MEGAPIXELS, ReducedSettings, benchmark_reduced

    if (run is None) != (images is None):
        raise UserError("large JPEGs are read for a model; give --run and --images together.")
    if run is not None and images is not None:
        benchmark_reduced(ReducedSettings(run, images, megapixels or MEGAPIXELS, grain, repeats, smallest), json)
    else:
        benchmark_reading(ReadingSettings(size, repeats), json)


@app.command()
def cost(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    image_size: Annotated[int, typer.Option(help="Height and width of an image in pixels.")] = 224,
    batch_size: Annotated[int, typer.Option(help="Images for each pass and each training step.")] = 8,
    stages: Annotated[int, typer.Option(help="Layers of the ResNet kept, 1 to 4.")] = 4,
    architecture: Annotated[str, typer.Option(help="resnet18, resnet34 or resnet50.")] = "resnet18",
    repeats: Annotated[int, typer.Option(help="Measurements of each contender, interleaved.")] = 5,
    threads: Annotated[int | None, typer.Option(help="Threads of PyTorch; its own choice if left out.")] = None,
) -> None:
    """Compare merged network, ACL and backbone; cached and re-run head tuning; trainer and bare loop."""
    from benchmarks.cost import benchmark_cost
    from benchmarks.networks import CostSettings

    settings = CostSettings(image_size, batch_size, stages, architecture, repeats, threads)
    benchmark_cost(settings, json)


@app.command()
def training(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    images: Annotated[int, typer.Option(help="Images of a task.")] = 400,
    epochs: Annotated[int, typer.Option(help="Epochs of a task.")] = 15,
    image_size: Annotated[int, typer.Option(help="Height and width of an image in pixels.")] = 96,
    classes: Annotated[int, typer.Option(help="Classes of a task.")] = 4,
    repeats: Annotated[int, typer.Option(help="Measurements of each contender, interleaved.")] = 3,
) -> None:
    """Compare learning a task with a loop that prepares every image anew: once, mixed precision."""
    from benchmarks.training import TrainingSettings, benchmark_training

    benchmark_training(TrainingSettings(images, epochs, repeats, image_size, classes=classes), json)


@app.command()
def refit(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    repeats: Annotated[int, typer.Option(help="Measurements of each contender, interleaved.")] = 5,
) -> None:
    """Time the recommended head from features to classifier, beside scikit-learn's refitted on all features."""
    from benchmarks.refit import benchmark_refit

    benchmark_refit(repeats, json)


@app.command()
def growth(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them into this PNG file.")] = None,
    images: Annotated[int, typer.Option(help="Images of the longest stream, from 1000.")] = 1_000_000,
    image_size: Annotated[int, typer.Option(help="Height and width of an image in pixels.")] = 96,
    stages: Annotated[int, typer.Option(help="Layers of the ResNet kept, 1 to 4.")] = 3,
    repeats: Annotated[int, typer.Option(help="Measurements of which the median is taken.")] = 3,
) -> None:
    """Measure what more tasks, classes and images cost: processor time, memory, and how they grow."""
    from benchmarks.growth import benchmark_growth
    from benchmarks.growth_measures import GrowthSettings, up_to

    settings = GrowthSettings(image_size, stages, repeats=repeats, images=up_to(images))
    benchmark_growth(settings, json, plot)


@app.command()
def peers(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    features: Annotated[Path | None, typer.Option(help="Keep features in this folder, or take them from it.")] = None,
    of: Annotated[list[str] | None, typer.Option("--set", help="Only this one; may be given again.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
) -> None:
    """Compare our heads with classifiers of scikit-learn that are refitted on all features after every task."""
    from benchmarks.peers import benchmark_peers

    benchmark_peers(json, features, tuple(of or ()), tuple(method or ()))


@app.command(name="few_shot")
def few_shot(
    json: Annotated[Path | None, typer.Option(help="Write all figures to this file.")] = None,
    features: Annotated[Path | None, typer.Option(help="Keep features in this folder, or take them from it.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them into this PNG file.")] = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws of the images of a new disease in each order.")] = 2,
    of: Annotated[list[str] | None, typer.Option("--set", help="Only this one; may be given again.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
) -> None:
    """Measure how well classes are told apart that have 1 to 20 training images."""
    from benchmarks.few_shot import benchmark_few_shot

    benchmark_few_shot(json, features, plot, draws, tuple(of or ()), tuple(method or ()))


@app.command()
def accuracy(
    config: Annotated[Path, typer.Option(help="Methods, data sets and seeds.")] = Path("configs/benchmark.yaml"),
) -> None:
    """Train every method on every data set with every seed; what is finished is not run again."""
    from benchmarks.accuracy import benchmark_accuracy

    benchmark_accuracy(config)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit as `dynammo` does.

    Args:
        arguments: words behind `python -m benchmarks`; None takes those of the process.
    """
    run_app(app, arguments)


if __name__ == "__main__":
    main()
