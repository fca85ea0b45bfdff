import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import Trained
from synthetic.datasets import CLASSES
from synthetic.records import edit, export, write_run

from dynammo.errors import UserError
from dynammo.runs.find import find_models
from dynammo.runs.load import load_model
from dynammo.runtime.files import sha256


def test_every_form_of_a_model_gives_the_same(run: Path, tmp_path: Path) -> None:
    models = export(run, tmp_path / "out")
    alone = tmp_path / "alone.ts"
    shutil.copy(models / "model.ts", alone)
    images = torch.randn(2, 3, 32, 32)
    expected = load_model(run).network(images)
    forms = {run: "run", run / "model.pt": "run", tmp_path / "out": "bundle", models: "bundle",
             models / "model.ts": "torchscript", alone: "torchscript"}  # fmt: skip
    for path, kind in forms.items():
        model = load_model(path)
        assert model.kind == kind
        assert model.record["classes"] == list(CLASSES)
        assert not model.network.training
        torch.testing.assert_close(model.network(images), expected, atol=1e-5, rtol=0)
        assert len(model.sha256) == 64
    assert [load_model(path).name for path in (run, tmp_path / "out", alone)] == ["tiny", "out", "alone"]
    assert load_model(alone).sha256 == sha256(alone)


def test_other_weights_than_the_record_describes_are_refused(run: Path, trained: Trained, tmp_path: Path) -> None:
    models = export(run, tmp_path / "out")
    shutil.copy(trained("joint") / "model.pt", run)
    with pytest.raises(UserError, match="sha256 differs"):
        load_model(run)
    export(trained("joint"), tmp_path / "other")
    shutil.copy(tmp_path / "other" / "models" / "model.ts", models)
    with pytest.raises(UserError, match="sha256 differs"):
        load_model(models / "model.ts")


def test_a_network_that_the_weights_do_not_fit_is_refused(run: Path) -> None:
    network = json.loads((run / "run.json").read_text())["network"]
    for wrong in ({**network, "stages": 3}, {**network, "flavour": "sweet"}):
        edit(run / "run.json", network=wrong)
        with pytest.raises(UserError, match="do not fit the network"):
            load_model(run)


def test_damaged_weights_are_refused(run: Path, tmp_path: Path) -> None:
    models = export(run, tmp_path / "out")
    cut = tmp_path / "cut.ts"
    with zipfile.ZipFile(models / "model.ts") as whole, zipfile.ZipFile(cut, "w") as part:
        for name in whole.namelist():
            if not name.endswith("data.pkl"):
                part.writestr(name, whole.read(name))
    with pytest.raises(UserError, match="is damaged"):
        load_model(cut)
    (run / "model.pt").write_bytes((run / "model.pt").read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged or not a model"):
        load_model(run)


def test_torchscript_without_its_record_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), str(tmp_path / "bare.ts"))
    (tmp_path / "video.ts").write_bytes(b"G" * 188)
    torch.save({"a": torch.zeros(1)}, tmp_path / "pickled.ts")
    for name in ("bare.ts", "video.ts", "pickled.ts"):
        with pytest.raises(UserError, match="carries its record"):
            load_model(tmp_path / name)
    assert find_models([tmp_path]) == []


@pytest.mark.parametrize("classes", [["", ""], ["MEL", " "], ["MEL", "MEL"]])
def test_classes_without_a_name_of_their_own_are_refused(classes: list[str], elsewhere: Path) -> None:
    folder = write_run(elsewhere / "runs" / "odd", classes=classes)
    with pytest.raises(UserError, match=r"is damaged .*classes"):
        load_model(folder)


def test_load_model_takes_the_default(run: Path, elsewhere: Path) -> None:
    assert load_model().name == "tiny"
    export(run, Path("dist"))
    assert (load_model().kind, load_model().path) == ("bundle", Path("dist"))


def test_a_folder_of_models_is_not_a_model(elsewhere: Path) -> None:
    write_run(elsewhere / "runs" / "a")
    with pytest.raises(UserError, match="holds 1; give one of them, such as --model runs/a"):
        load_model(Path("runs"))
    with pytest.raises(UserError, match="there is no nothing; type dynammo models"):
        load_model(Path("nothing"))
    Path("notes.txt").touch()
    with pytest.raises(UserError, match="is not a trained model"):
        load_model(Path("notes.txt"))


def test_a_half_trained_model_is_refused_in_every_form(run: Path, tmp_path: Path) -> None:
    models = export(run, tmp_path / "out")
    record = json.loads((run / "run.json").read_text())
    (run / "unfinished.json").write_text("{}")
    with pytest.raises(UserError, match=r"the training of .* is not finished; finish it first: type the command"):
        load_model(run)
    (run / "unfinished.json").unlink()
    for folder in (run, models):
        edit(folder / "run.json", tasks=[*record["tasks"], ["later"]])
        with pytest.raises(UserError, match=r"has learnt \d of \d tasks; finish it first: type the command"):
            load_model(folder)


def test_weights_that_their_record_does_not_list_are_refused(run: Path, tmp_path: Path) -> None:
    models = export(run, tmp_path / "out")
    edit(models / "run.json", files={})
    for path in (models, models / "model.ts"):
        with pytest.raises(UserError, match="sha256 differs"):
            load_model(path)
