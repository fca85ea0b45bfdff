"""Any form of a trained model, ready to classify: a run, an exported bundle, a TorchScript file."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dynammo.errors import UserError
from dynammo.runs.find import default_model, find_models, short_path
from dynammo.runs.record import Kind, Record, check_usable, locate_model, read_record
from dynammo.runtime.plain import expanded

if TYPE_CHECKING:  # MONAI takes seconds to import
    from dynammo.merging import State
    from dynammo.networks.merged_classifier import MergedClassifier

__all__ = ["Model", "find_model", "load_model"]


@dataclass(frozen=True)
class Model:
    """A trained model.

    Attributes:
        name: of its folder, or of its file without the ending.
        path: where it was found.
        kind: run, bundle (exported) or torchscript.
        record: its `run.json`: classes, network, config, measures.
        network: images (B, 3, H, W), prepared by the recipe of the record, to (B, K + 1), K probabilities and the
            unknown score; in eval mode, on the CPU.
        sha256: of the file that holds the weights, hexadecimal.
    """

    name: str
    path: Path
    kind: Kind
    record: Record
    network: "MergedClassifier"
    sha256: str


def load_model(path: Path | None = None, vectors: bool | None = False) -> Model:
    """Load a trained model; nothing is unpickled but tensors and plain values.

    The tensors of a TorchScript file are taken out of its archive (`dynammo.runs.torchscript`) and go into the network
    that its record describes, so that every kind of model can be moved, differentiated and looked into alike, and no
    code of the file runs.

    Args:
        path: folder of a run, folder of an exported bundle or a TorchScript file with its record inside; None for
            the newest exported model that `dynammo models` lists, else the newest run.
        vectors: it is to work on embeddings instead of images; None for what it has learnt.

    Raises:
        UserError: no model there, a damaged record or file, another file than the record describes, another number
            of channels than 3, a training that is not finished, or a record without the recipe of the images.
    """
    path, kind, weights, record = find_model(path, vectors)
    network, digest = _load_weights(kind, weights, record)
    name = path.stem if kind == "torchscript" else _folder(path).name
    return Model(name, path, kind, record, network, digest)


def find_model(path: Path | None = None, vectors: bool | None = False) -> tuple[Path, Kind, Path, Record]:
    """What `load_model` will load, its record read and checked: a moment's work, without torch.

    Args:
        path: as `load_model` takes it.
        vectors: as `load_model` takes it.

    Returns:
        Where it was found, what it is, the file of its weights, its record.

    Raises:
        UserError: what `load_model` refuses, but for damaged weights.
    """
    path = default_model().path if path is None else expanded(path)
    located = locate_model(path)
    if located is None:
        raise UserError(_no_model(path))
    kind, weights = located
    record = read_record(kind, weights)
    check_usable(record, short_path(path), None if kind == "torchscript" else weights.parent, vectors)
    return path, kind, weights, record


def _load_weights(kind: Kind, weights: Path, record: Record) -> tuple["MergedClassifier", str]:
    from dynammo.networks.merged_classifier import build_classifier
    from dynammo.runtime.files import sha256

    digest = sha256(weights)
    state = _of_torchscript(weights, digest) if kind == "torchscript" else _of_run(weights, record, digest)
    try:
        return build_classifier(record["network"], state), digest
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"the weights {weights} do not fit the network that their record describes ({type(error).__name__}); "
            "copy both from the same run, or use the version of dynammo that made them."
        ) from error


def _of_run(weights: Path, record: Record, digest: str) -> "State":
    from dynammo.runtime.files import load_state

    state: State = load_state(weights)
    if digest != record.get("files", {}).get(weights.name):
        raise UserError(
            f"{weights} is not the file that run.json describes (its sha256 differs); copy both from the same run."
        )
    return state


def _of_torchscript(file: Path, digest: str) -> "State":
    from dynammo.runs.torchscript import torchscript_state
    from dynammo.runtime.aliases import current_names

    beside = file.parent / "run.json"
    if file.name == "model.ts" and beside.is_file():
        expected = read_record("bundle", file).get("files", {}).get(file.name)
        if expected != digest:
            raise UserError(
                f"{file} is not the file that run.json beside it describes (its sha256 differs); copy both from the "
                "same export."
            )
    try:
        state: State = current_names(torchscript_state(file))
        return state
    except Exception as error:  # zipfile, pickletools and torch raise a dozen kinds for a damaged file
        raise UserError(f"the file {file} is damaged ({type(error).__name__}); export the model again.") from error


def _folder(path: Path) -> Path:
    """The folder that a model is known by: not its `models`, not one of its files."""
    folder = path.resolve()
    folder = folder.parent if folder.is_file() else folder
    return folder.parent if folder.name == "models" else folder


def _no_model(path: Path) -> str:
    if not path.exists():
        return f"there is no {path}; type dynammo models to see which models are there."
    if path.is_dir():
        below = [short_path(model.path) for model in find_models([path]) if not model.fault]
        if below:
            return f"{path} is not a model but holds {len(below)}; give one of them, such as --model {below[0]}."
    return (
        f"{path} is not a trained model; expected the folder of a run (model.pt and run.json), an exported bundle or "
        "a TorchScript file (.ts); type dynammo models to see which are there."
    )
