"""The SDK's bundle operator, mended for classification.

What of monai-deploy-app-sdk 4.0.0 is overridden, and why:

- `_send_output` takes the maximum of each of the K probabilities by itself, so that it names class 0 K times. Here each
  class gets its probability.
- `_convert_from_image` turns images into (W, H, D) and copies an affine that a series of one slice (CR, DX, MG,
  photographs) does not have, so that it fails. Here images are (C, H, W), upright, and their place does not matter.
- `_get_compose` takes a missing list of transforms for an empty one, which would classify raw pixels without a word.
- `compute` asks the prepared image for its `meta`, which plain tensors lack: `pre_process` puts it back.
- `compute` takes one image; a series may have several whose probabilities are averaged, and a folder several series.
- The network is loaded once, not for every image, and `model.ts` alone, whose digest was checked.
"""

from dataclasses import dataclass, field
from typing import Any

from bundle_checks import Bundle
from monai.data import MetaTensor
from monai.deploy.core import AppContext, Image, IOType, TorchScriptModel
from monai.deploy.operators.monai_bundle_inference_operator import (
    BundleConfigNames,
    IOMapping,
    MonaiBundleInferenceOperator,
)
from series_images import SeriesImages

from dynammo.errors import UserError

__all__ = ["ClassificationOperator", "Classified"]

NAMES = BundleConfigNames(preproc_name="preparation")  # what the bundle does behind reading


@dataclass(frozen=True)
class Classified:
    """A series and what the network says of it.

    Attributes:
        series: what was classified.
        probabilities: of every class, mean over the images of the series; empty where it cannot be read.
        unknown: how little it resembles what was learnt, 0 to 1.
        images: number of images that count.
        fault: why it cannot be read.
    """

    series: SeriesImages
    probabilities: dict[str, float] = field(default_factory=dict)
    unknown: float | None = None
    images: int = 0
    fault: str = ""


class _Handover:
    """Stands for the ports while the SDK's `compute` works on a single image."""

    def __init__(self, image: Image) -> None:
        self.image, self.results = image, {}  # type: ignore[var-annotated]

    def receive(self, name: str) -> Image:
        return self.image

    def emit(self, value: dict[str, float], name: str) -> None:
        self.results[name] = value


class ClassificationOperator(MonaiBundleInferenceOperator):  # type: ignore[misc]  # the SDK is untyped
    """Named input `image`, a list of `SeriesImages`; named output `pred`, a list of `Classified`.

    Args:
        app_context: of the application; its model becomes the TorchScript file of the bundle.
        bundle: checked; its config gives `preparation` (what follows reading) and `postprocessing`.
    """

    def __init__(self, *args: Any, app_context: AppContext, bundle: Bundle, **kwargs: Any) -> None:  # noqa: ANN401
        app_context.models = TorchScriptModel(str(bundle.model))
        super().__init__(
            *args,
            app_context=app_context,
            input_mapping=[IOMapping("image", Image, IOType.IN_MEMORY)],
            output_mapping=[IOMapping("pred", dict, IOType.IN_MEMORY)],
            bundle_path=bundle.path,
            bundle_config_names=NAMES,
            **kwargs,
        )
        self._init_config(NAMES.config_names)
        # the SDK sends what this lists; the names come from run.json, since MONAI's parser may change them
        self._outputs = self._parser["_meta_"]["network_data_format"]["post_processed_outputs"]
        self._names = {"pred": list(bundle.classes), "unknown": ["unknown"]}
        self._init_completed = True

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:  # noqa: ANN401
        """Classify series after series; one that cannot be read does not stop the others."""
        op_output.emit([self._classified(series, context) for series in op_input.receive("image")], "pred")

    def _classified(self, series: SeriesImages, context: Any) -> Classified:  # noqa: ANN401
        rows: list[dict[str, dict[str, float]]] = []
        try:
            for image in series.images():
                handover = _Handover(image)
                super().compute(handover, handover, context)
                rows.append(handover.results)
        except UserError as error:
            return Classified(series, fault=str(error))
        mean = {
            name: {key: sum(row[name][key] for row in rows) / len(rows) for key in rows[0][name]} for name in rows[0]
        }
        return Classified(series, mean["pred"], mean["unknown"]["unknown"], len(rows))

    def pre_process(self, data: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """Prepare the image as the bundle does."""
        return {name: MetaTensor(value) for name, value in super().pre_process(data).items()}

    def _convert_from_image(self, img: Image) -> tuple[Any, dict[str, Any]]:
        return img.asnumpy(), dict(img.metadata())

    def _send_output(self, value: Any, name: str, metadata: Any, op_output: Any, context: Any) -> None:  # noqa: ANN401
        names = self._names[name]
        if len(value) != len(names):
            raise UserError(
                f"the network gives {len(value)} numbers for {name} where run.json names {len(names)}; export "
                "the model again."
            )
        op_output.emit({key: float(number) for key, number in zip(names, value, strict=True)}, name)

    def _get_compose(self, obj_name: str, disallowed_prefixes: Any) -> Any:  # noqa: ANN401
        if self._parser.get(obj_name) is None:
            raise UserError(
                f"configs/inference.yaml of the bundle has no {obj_name}; export the model again with this version."
            )
        return super()._get_compose(obj_name, disallowed_prefixes)
