"""The application: DICOM folder in; structured reports and JSON with all class probabilities out.

    StudyLoader -> SeriesChoice -> SeriesReader -> ClassificationOperator -> ResultWriter

Studies are read by the SDK's loader, chosen by its rules, and prepared and classified by its bundle operator; the
images of one series after the other, and the reports, are DynaMMo's.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

os.environ.setdefault("HOLOSCAN_LOG_LEVEL", "OFF")  # its log repeats every exception with a traceback

from bundle_checks import Bundle, open_bundle
from classification_operator import ClassificationOperator
from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application
from result_writer import ResultWriter
from series_choice import SeriesChoice
from series_images import SeriesReader
from study_loader import StudyLoader

from dynammo.errors import UserError, printable

__all__ = ["ClassifierApplication", "main"]

HERE = Path(__file__).parent
CLASSIFIED, REFUSED, SOME_FAILED = 0, 1, 3  # exit status, as `dynammo classify` sets it


class ClassifierApplication(Application):  # type: ignore[misc]  # the SDK is untyped
    """Classifies every series of a folder that the rules of `app.yaml` choose.

    Args:
        context: where input, output and model lie, as the SDK has them from the command line or a container.
        bundle: the checked bundle.
        settings: content of `app.yaml`.
    """

    def __init__(self, context: AppContext, bundle: Bundle, settings: dict[str, Any]) -> None:
        self.context, self.bundle, self.settings = context, bundle, settings
        self.writer: ResultWriter | None = None
        super().__init__()

    def compose(self) -> None:
        """Make the operators and connect them."""
        loader = StudyLoader(
            self, CountCondition(self, 1), input_folder=Path(self.context.input_path), name="study_loader"
        )
        choice = SeriesChoice(self, bundle=self.bundle, settings=self.settings, name="series_choice")
        reader = SeriesReader(self, recipe=self.bundle.recipe, name="series_reader")
        classifier = ClassificationOperator(
            self, app_context=self.context, bundle=self.bundle, name="classification_operator"
        )
        self.writer = ResultWriter(
            self, folder=Path(self.context.output_path), bundle=self.bundle, left_out=loader.left_out, name="writer"
        )
        self.add_flow(loader, choice, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(choice, reader, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(reader, classifier, {("image", "image")})
        self.add_flow(classifier, self.writer, {("pred", "pred")})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the application.

    Args:
        arguments: words behind the program's name, those of the SDK: `-i FOLDER -o FOLDER`, `-m BUNDLE`, `-l LEVEL`;
            without them the variables HOLOSCAN_INPUT_PATH, HOLOSCAN_OUTPUT_PATH and HOLOSCAN_MODEL_PATH count.

    Returns:
        Exit status: 0 all classified, 1 refused, 3 some or all series could not be read.
    """
    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        print(f"error: {printable(error)}", file=sys.stderr)
        return REFUSED


def _run(arguments: list[str]) -> int:
    quiet = [] if {"-l", "--log-level"} & set(arguments) else ["-l", "ERROR"]  # the SDK's notes quote descriptions
    context = Application.init_app_context([str(HERE), *arguments, *quiet])
    if not Path(context.input_path).is_dir():
        raise UserError("there is no input folder; give -i a folder of DICOM images.")
    application = ClassifierApplication(
        context, open_bundle(_bundle_path(context)), yaml.safe_load((HERE / "app.yaml").read_text(encoding="utf-8"))
    )
    application.run()
    writer = application.writer
    if writer is None or writer.summary is None:
        raise UserError("the pipeline ended without a result; run it again with -l DEBUG to see where.")
    print(printable(writer.summary))
    return SOME_FAILED if writer.failed else CLASSIFIED


def _bundle_path(context: AppContext) -> Path:
    """What `-m` names; in a container whose folder of models is empty, and by default, the bundle of this folder."""
    given = Path(context.model_path)
    if "model" in context.args or (given / "models" / "run.json").is_file():
        return given
    return HERE / "bundle"
