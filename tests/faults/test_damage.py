"""Damaged and forged files end in a sentence or do no harm; nothing of them is ever executed."""

import hashlib
import json
import random
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from synthetic.damage import bombs, damaged
from synthetic.datasets import make_data
from synthetic.runs import Interrupted, at_epoch, interrupted, make_trainer, without_plots

from dynammo.data.images import ImageSet
from dynammo.errors import UserError
from dynammo.runs import resume as resuming
from dynammo.runtime import files as checkpoint
from dynammo.training.trainer import IncrementalTrainer

FILES = ("checkpoint.pt", "checkpoint.previous.pt", "stage.pt", "stage.previous.pt", "unfinished.json")
pytestmark = pytest.mark.usefixtures("in_root")


@pytest.fixture(scope="module")
def cut(tiny_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a run that was cut off in the second epoch of its last task."""
    folder = tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch:
        without_plots(patch)
        patch.chdir(Path(__file__).parents[2])
        patch.setattr(resuming, "save_checkpoint", interrupted(checkpoint.save_checkpoint, at_epoch(2, "adapters", 2)))
        with pytest.raises(Interrupted):
            make_trainer(tiny_data, folder).learn()
    return folder


@pytest.fixture
def trainer(tiny_data: Path, tmp_path: Path) -> IncrementalTrainer:
    """A trainer that takes up what is there, fits the stage it finds without an epoch, and stops."""
    trainer = make_trainer(tiny_data, tmp_path / "own")
    trainer.trainer.run = lambda: None

    def run(left: list[Any], **_: Any) -> None:  # noqa: ANN401
        trainer.network.start_task(len(left[0].classes), left[0].seen)
        trainer.fit(trainer.data.train(left[0]), trainer.network, trainer.network.trainable_parameters(), "adapters")

    trainer.run = run  # type: ignore[assignment, method-assign]
    return trainer


def outcome(trainer: IncrementalTrainer, folder: Path) -> str:
    """Load the run in `folder`: refused in a sentence, or taken up; everything else fails the test."""
    handler = next(handler for handler in trainer.handlers if isinstance(handler, resuming.ResumeRun))
    handler.folder, trainer.tasks_learnt, trainer.stages.resumed = folder, 0, None
    try:
        trainer.learn()
    except UserError as error:
        assert str(error).endswith((".", ").")) and len(str(error)) < 1000
        return "refused in a sentence"
    return "taken up from what is whole"


def forged(file: Path) -> None:
    """Make the digest fit the file, as an attacker would."""
    if file.suffix == ".pt":
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        file.with_name(f"{file.name}.sha256").write_text(f"{digest}  {file.name}\n")


@pytest.mark.parametrize("part", range(5))
def test_damaged_checkpoints(
    part: int, cut: Path, trainer: IncrementalTrainer, tmp_path: Path, count: Counter[str]
) -> None:
    chosen = random.Random(part)
    others = [(cut / name).read_bytes() for name in FILES]
    for number in range(100):
        folder = shutil.copytree(cut, tmp_path / str(number))
        for name in chosen.sample(FILES, chosen.choice([1, 1, 1, 2, 5])):
            (folder / name).write_bytes(damaged((folder / name).read_bytes(), chosen, others))
            if chosen.random() < 0.5:
                forged(folder / name)
        if chosen.random() < 0.1:
            digest = folder / f"{chosen.choice(FILES[:4])}.sha256"
            digest.write_bytes(damaged(digest.read_bytes(), chosen, others))
        count[outcome(trainer, folder)] += 1
        shutil.rmtree(folder)


def test_pickle_bombs(cut: Path, trainer: IncrementalTrainer, tmp_path: Path, count: Counter[str]) -> None:
    sprung = tmp_path / "sprung"
    for name in FILES[:4]:
        for content in bombs(sprung, (cut / name).read_bytes()):
            folder = shutil.copytree(cut, tmp_path / "bombed")
            for file in (folder / name, folder / name.replace(".pt", ".previous.pt")):
                file.write_bytes(content)
                forged(file)
            count[outcome(trainer, folder)] += 1
            shutil.rmtree(folder)
            assert not sprung.exists()


@pytest.mark.parametrize("part", range(5))
def test_damaged_data_lists(part: int, tmp_path: Path, count: Counter[str]) -> None:
    chosen = random.Random(part)
    data = make_data(tmp_path / "data", 3, 2)
    files = [path.relative_to(data) for split in ("train", "test") for path in sorted((data / split).rglob("*.png"))]
    rows = [
        {"path": str(f), "label": f.parent.name, "split": f.parts[0], "group": f"{f.parts[0]} {f.stem}"} for f in files
    ]
    lines = ["path,label,split,group", *(",".join(row.values()) for row in rows)]
    lists = {"csv": "\n".join(lines).encode(), "json": json.dumps(rows).encode()}
    paths = [
        "../secret.png",
        "/etc/hostname",
        "train/../../secret.png",
        "",
        "\0",
        "a" * 5000,
        "train",
        "~/x",
        "CON",
        ".",
    ]
    others = [
        *lists.values(),
        *(path.encode() for path in paths),
        b'["',
        b"[[[[" * 30000,
        b"\xff\xfe",
        b'{"path": 1e999}',
    ]
    shutil.copy(data / files[0], tmp_path / "secret.png")
    for number in range(100):
        kind = chosen.choice(["csv", "json"])
        content = lists[kind]
        if chosen.random() < 0.4:  # a list that can be read, with another path
            content = content.replace(str(chosen.choice(files)).encode(), chosen.choice(paths).encode())
        else:
            content = damaged(content, chosen, others)
        file = data / f"list{number}.{kind}"
        file.write_bytes(content)
        try:
            images = ImageSet(data, file, skip_unreadable=chosen.random() < 0.5)
        except UserError as error:
            assert len(str(error)) < 2000
            count["refused in a sentence"] += 1
            continue
        count["read as far as it is sound"] += 1
        assert all(record.path.resolve().is_relative_to(data.resolve()) for record in images.records)
