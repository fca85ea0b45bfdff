"""A transformer where transformers is not installed: MONAI Deploy's application and MLflow's server."""

import json
import subprocess
from pathlib import Path

import pytest
from deploy import through_deploy, through_mlflow
from synthetic.encoders import exported_vit

from dynammo.clinic.classify import ClassifySettings, classify

pytestmark = pytest.mark.deploy

AGREE = 1e-3  # of probabilities, as promised


def test_a_vit_answers_as_classify_does(tiny_data: Path, tmp_path: Path) -> None:
    assert subprocess.run([through_deploy.DEPLOY_PYTHON, "-c", "import transformers"], capture_output=True).returncode
    bundle = exported_vit(tiny_data, tmp_path)
    pictures = sorted((tiny_data / "test").rglob("*.png"))[::3]
    names = tmp_path / "list.txt"
    names.write_text("\n".join(map(str, pictures)))
    classify(names, tmp_path / "results", ClassifySettings(model=bundle, device="cpu"))
    rows = json.loads((tmp_path / "results" / "predictions.json").read_text())["items"]
    expected = {Path(row["path"]): row for row in rows}
    for through in (through_deploy, through_mlflow):
        workplace = tmp_path / through.__name__.rpartition(".")[2]
        workplace.mkdir()
        found = through.classify_pictures(bundle, pictures, workplace)
        assert len(found) == len(pictures) == len(expected)
        for picture, (probabilities, unknown) in found.items():
            row = next(row for path, row in expected.items() if picture.parts[-2:] == path.parts[-2:])
            assert probabilities == pytest.approx(row["probabilities"], abs=AGREE)
            assert unknown == pytest.approx(row["unknown"], abs=AGREE)
