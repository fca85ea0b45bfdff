"""What a run leaves: files whole or not at all, and a record that says what they are."""

import json
from pathlib import Path

import pytest
import torch
from synthetic.runs import make_trainer

from dynammo.errors import UserError
from dynammo.runs.save_run import OUTPUTS, SaveRun
from dynammo.runtime.files import load_state, sha256

pytestmark = pytest.mark.usefixtures("in_root")


def test_the_record_describes_the_files_beside_it(tiny_data: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tiny_data, tmp_path / "run", epochs=1, increments=[2, 2])
    SaveRun(str(tmp_path / "other"), "own", {"epochs": 1}, {"red": {"mark": "benign"}}).attach(trainer)
    trainer.learn()
    record = json.loads((tmp_path / "other" / "run.json").read_text())
    assert (record["method"], record["config"], record["tasks_learnt"]) == ("own", {"epochs": 1}, 2)
    assert record["classes"] == ["blue", "green", "red", "white"] and len(record["results"]) == 2
    assert record["files"] == {name: sha256(tmp_path / "other" / name) for name in OUTPUTS}
    assert record["test_images"] == trainer.data.test_digest()
    assert record["about_classes"] == {"red": {"mark": "benign"}}
    weights = load_state(tmp_path / "other" / "model.pt")
    shipped = trainer.network.classifier().state_dict()
    assert weights.keys() == shipped.keys()
    assert all(torch.equal(value.cpu(), weights[name]) for name, value in shipped.items())


@pytest.mark.usefixtures("no_plots")
def test_a_full_disk_is_one_sentence(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    trainer = make_trainer(tiny_data, tmp_path / "run", epochs=1)
    monkeypatch.setattr("dynammo.runs.save_run.write_json", full)
    with pytest.raises(UserError, match=r"No space left on device.*type the same command to resume"):
        trainer.learn()
    assert not (tmp_path / "run" / "run.json").exists()
