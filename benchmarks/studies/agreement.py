"""The same images through every way that a model is used: docs/results/agreement.json and the table of docs/deploy.md.

Type `PYTHONPATH=tests:tests/deploy:tests/label python -m benchmarks.studies.agreement BUNDLE FOLDER` from the
repository root, after `make test-deploy` and `make test-label`: BUNDLE from `dynammo export`, FOLDER of pictures, of
which 50 are taken. What was measured of other bundles stays in the result file.
"""

import csv
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import label_server
import monai.bundle
import onnxruntime
import through_deploy
import through_mlflow
import torch
import typer

from dynammo.clinic.classify import ClassifySettings, classify
from dynammo.data.preprocessing import exported_preprocessing
from dynammo.runtime import provenance
from dynammo.runtime.files import write_json

COUNT = 50
RESULT = Path("docs/results/agreement.json")
Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False)]
Answers = dict[str, dict[str, float]]  # name of the picture -> class -> probability


def by_classify(bundle: Path, pictures: list[Path], folder: Path) -> Answers:
    """`dynammo classify`, against which all others are held."""
    names = folder / "list.txt"
    names.write_text("\n".join(str(picture.resolve()) for picture in pictures))
    classify(names, folder / "results", ClassifySettings(model=bundle))
    items = json.loads((folder / "results" / "predictions.json").read_text())["items"]
    return {Path(item["path"]).name: item["probabilities"] for item in items}


def by_bundle(bundle: Path, pictures: list[Path], folder: Path) -> Answers:
    """`python -m monai.bundle run inference`, in process."""
    (folder / "images").mkdir()
    for picture in pictures:
        (folder / "images" / picture.name).symlink_to(picture.resolve())
    monai.bundle.run(
        "inference", config_file=str(bundle / "configs" / "inference.yaml"), bundle_root=str(bundle),
        dataset_dir=str(folder / "images"), output_dir=str(folder),
    )  # fmt: skip
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {Path(row.pop("path")).name: {k[2:]: float(v) for k, v in row.items() if k.startswith("p_")} for row in rows}


def by_torchscript(bundle: Path, pictures: list[Path], folder: Path) -> Answers:
    """`model.ts` alone, behind the exported preparation."""
    network = torch.jit.load(str(bundle / "models" / "model.ts"))
    with torch.inference_mode():
        return _through(bundle, pictures, lambda image: network(image)[0].tolist())


def by_onnx(bundle: Path, pictures: list[Path], folder: Path) -> Answers:
    """`model.onnx` in ONNX Runtime, behind the exported preparation."""
    session = onnxruntime.InferenceSession(bundle / "models" / "model.onnx", providers=["CPUExecutionProvider"])
    return _through(bundle, pictures, lambda image: session.run(["pred"], {"image": image.numpy()})[0][0].tolist())


def by_label(bundle: Path, pictures: list[Path], folder: Path) -> Answers:
    """MONAI Label's `POST /infer`."""
    return label_server.probabilities_from_label(bundle, pictures, folder)


def by_deploy(bundle: Path, pictures: list[Path], folder: Path) -> Answers:
    """MONAI Deploy's application, on secondary captures made of the pictures."""
    return {p.name: found for p, (found, _) in through_deploy.classify_pictures(bundle, pictures, folder).items()}


def by_mlflow(bundle: Path, pictures: list[Path], folder: Path) -> Answers:
    """`mlflow models serve`, asked by docs/examples/ask_mlflow.py."""
    return {p.name: found for p, (found, _) in through_mlflow.classify_pictures(bundle, pictures, folder).items()}


WAYS: dict[str, Callable[[Path, list[Path], Path], Answers]] = {
    "dynammo classify": by_classify,
    "bundle inference (MONAI and torch alone)": by_bundle,
    "TorchScript alone": by_torchscript,
    "ONNX Runtime": by_onnx,
    "MONAI Label, REST": by_label,
    "MONAI Deploy, DICOM": by_deploy,
    "mlflow models serve": by_mlflow,
}

NEEDED = {"MONAI Label, REST": label_server.LABEL_PYTHON, "MONAI Deploy, DICOM": through_deploy.DEPLOY_PYTHON}


def _through(bundle: Path, pictures: list[Path], network: Callable[[torch.Tensor], list[float]]) -> Answers:
    prepare = exported_preprocessing(bundle)
    classes = json.loads((bundle / "models" / "run.json").read_text())["classes"]
    images = {picture.name: prepare({"image": str(picture)})["image"][None] for picture in pictures}
    return {name: dict(zip(classes, network(image)[:-1], strict=True)) for name, image in images.items()}


def main(bundle: Folder, folder: Folder) -> None:
    """Measure, write into the result file, print the rows of the table."""
    origin = provenance.origin()
    every = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    pictures = [every[k * len(every) // COUNT] for k in range(COUNT)]
    found: dict[str, Answers] = {}
    for way, classified in WAYS.items():
        if (missing := NEEDED.get(way)) and not missing.is_file():
            print(f"{way}: left out, since {missing.parent.parent.name} is not installed")
            continue
        with tempfile.TemporaryDirectory() as workplace:
            found[way] = classified(bundle, pictures, Path(workplace))
    first = found["dynammo classify"]
    rows = {way: _against(first, other) for way, other in found.items()}
    models = json.loads(RESULT.read_text())["models"] if RESULT.is_file() else {}
    models[bundle.name] = {"images": len(pictures), "ways": rows, **origin}
    write_json(RESULT, {"models": models})
    for way, row in rows.items():
        print(f"| {way} | {row['same_class']} of {len(pictures)} | {row['largest_difference']:.1e} |")


def _against(first: Answers, other: Answers) -> dict[str, float]:
    same = sum(max(first[name], key=first[name].__getitem__) == max(p, key=p.__getitem__) for name, p in other.items())
    differences = [abs(value - first[name][label]) for name, p in other.items() for label, value in p.items()]
    assert other.keys() == first.keys()
    return {"same_class": same, "largest_difference": max(differences)}


if __name__ == "__main__":
    typer.run(main)
