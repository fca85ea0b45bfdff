"""Those parts of the MONAI Label app that need no MONAI Label."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic.label_app import CLASSES, NAME, lib, write_bundle

from dynammo.export.monai_label import TEMPLATE, write_label_app


@pytest.fixture(scope="module", autouse=True)
def template() -> Iterator[None]:
    """The app's folder on the path, as its main.py has it."""
    sys.path.insert(0, str(TEMPLATE))
    yield
    sys.path.remove(str(TEMPLATE))
    for name in [name for name in sys.modules if name == "lib" or name.startswith("lib.")]:
        del sys.modules[name]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / NAME)


def test_a_bundle_that_is_what_it_says_passes(bundle: Path) -> None:
    record, _ = lib("bundle_checks").check_bundle(bundle, whole=True)
    assert record["classes"] == CLASSES


@pytest.mark.parametrize("named", [[], ["NV", "MEL"], ["MEL", "NV", "BCC"], ["MEL"]])
def test_other_classes_in_the_metadata_are_refused(tmp_path: Path, named: list[str]) -> None:
    made = write_bundle(tmp_path / NAME, named=named)
    with pytest.raises(lib("bundle_checks").BundleFault, match="2 classes"):
        lib("bundle_checks").check_bundle(made)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("models/model.ts", "another", "sha256 differs"),
        ("models/run.json", "{", "damaged"),
        ("models/run.json", "[]", "damaged"),
        ("models/run.json", '{"classes": ["A"]}', "no sha256"),
        ("configs/metadata.json", '{"network_data_format": 3}', "damaged"),
        ("configs/metadata.json", "{}", "damaged"),
        ("configs/metadata.json", '{"network_data_format": {}}', "names no classes"),
    ],
)
def test_a_changed_file_is_refused(bundle: Path, file: str, content: str, words: str) -> None:
    (bundle / file).write_text(content)
    with pytest.raises(lib("bundle_checks").BundleFault, match=words):
        lib("bundle_checks").check_bundle(bundle)


def test_a_file_that_only_learning_needs_is_checked_then(bundle: Path) -> None:
    record = json.loads((bundle / "models" / "run.json").read_text())
    record["files"]["learning.pt"] = "0" * 64
    (bundle / "models" / "run.json").write_text(json.dumps(record))
    (bundle / "models" / "learning.pt").write_bytes(b"else")
    checks = lib("bundle_checks")
    checks.check_bundle(bundle)
    with pytest.raises(checks.BundleFault, match=r"learning\.pt"):
        checks.check_bundle(bundle, whole=True)


def test_the_next_bundle_is_served_when_it_is_whole(bundle: Path, tmp_path: Path) -> None:
    served = lib("served")
    model = write_label_app(bundle, tmp_path / "app")
    aside = served.new_aside(model)
    shutil.copytree(bundle, aside / NAME)
    number = served.add_bundle(model, aside / NAME)
    assert number == 2
    assert served.served_bundle(model).name == "1", "not before it is told to"
    served.serve(model, number)
    assert served.served_bundle(model).name == "2"
    assert served.stale_folders(model) == [aside]
    served.remove(aside)
    assert not aside.exists()
    (model / "served").write_text("../../secret")
    with pytest.raises(ValueError, match="names no bundle; expected the number of one of its folders: 1, 2"):
        served.served_bundle(model)


def labelled(folder: Path, number: int, label: Any) -> tuple[Path, Path]:  # noqa: ANN401
    image, file = folder / f"Doe Jane {number}.nii.gz", folder / f"{number}.json"
    image.write_bytes(number.to_bytes(2, "big"))
    file.write_text(json.dumps(label))
    return image, file


@pytest.mark.parametrize("label", [{"label": "NV"}, {"label": " NV "}, {"label": "Nävus (2)", "by": "me"}])
def test_labels_name_a_class(tmp_path: Path, label: Any) -> None:  # noqa: ANN401
    (found,), faults = lib("labels").read_labels([labelled(tmp_path, 0, label)])
    assert (found.name, faults) == (label["label"].strip(), 0)


@pytest.mark.parametrize(
    "label", ["NV", {}, {"label": ""}, {"label": 3}, {"label": ".."}, {"label": "a/b"}, {"label": "x" * 101}, None]
)
def test_labels_that_name_none_are_counted(tmp_path: Path, label: Any) -> None:  # noqa: ANN401
    assert lib("labels").read_labels([labelled(tmp_path, 0, label)]) == ([], 1)


@settings(max_examples=50)
@given(
    classes=st.lists(st.sampled_from("ABCD"), max_size=30),
    known=st.sets(st.sampled_from("ABCD")),
    fixed=st.sets(st.sampled_from("AB")),
    share=st.floats(0, 0.99),
    learnt=st.sets(st.integers(0, 29)),
)
def test_every_image_is_learnt_once_or_tested_with(
    classes: list[str], known: set[str], fixed: set[str], share: float, learnt: set[int]
) -> None:
    labels = lib("labels")
    digests = [f"{(i * 2654435761) % 2**32:08x}{i:056x}" for i in range(len(classes))]
    entries = [labels.Labelled(Path(str(i)), name, digests[i]) for i, name in enumerate(classes)]
    before = {digests[i]: classes[i] for i in learnt if i < len(classes)}
    fixed &= known
    chosen = labels.plan(entries, before, share, known, fixed)
    fresh = [entry for entry in entries if entry.sha256 not in before]
    assert sorted(map(id, chosen.train + chosen.test)) == sorted(map(id, fresh))
    assert {entry.name for entry in chosen.test} <= known | {entry.name for entry in chosen.train}
    after = before | {entry.sha256: entry.name for entry in chosen.train}
    again = labels.plan(entries, after, share, known | set(after.values()), fixed)
    assert not again.train
    assert set(map(id, again.test)) == set(map(id, chosen.test))
    assert share or {entry.name for entry in chosen.test} <= fixed
    assert not {entry.name for entry in chosen.train} & fixed


def test_images_come_into_folders_without_their_names(tmp_path: Path) -> None:
    labels = lib("labels")
    entries, _ = labels.read_labels([labelled(tmp_path, i, {"label": "NV"}) for i in range(20)])
    again, _ = labels.read_labels([labelled(tmp_path, 7, {"label": "MEL"})])
    chosen = labels.plan([*again, *entries], {again[0].sha256: "NV"}, 0.5, ["NV"])
    assert chosen.relabelled == 1
    labels.link_images(chosen, tmp_path / "laid")
    files = [file for file in (tmp_path / "laid").rglob("*") if file.is_file()]
    assert len(files) == len(chosen.train) + len(chosen.test) == 19
    assert {file.relative_to(tmp_path / "laid").parts[:2] for file in files} == {("train", "NV"), ("test", "NV")}
    assert all(file.name.endswith(".nii.gz") and "Doe" not in file.name for file in files)
    assert chosen.counts() == {"images": {"NV": len(chosen.train)}, "test_images": {"NV": len(chosen.test)}}


def test_a_command_says_why_it_failed(capfd: pytest.CaptureFixture[str]) -> None:
    run = lib("commands").run_command
    script = "import sys; print('working'); print('error: no disk', file=sys.stderr); sys.exit(3)"
    assert run([sys.executable, "-c", script]) == (3, "no disk")
    assert "working" in capfd.readouterr().out
    assert run([sys.executable, "-c", "print('done')"]) == (0, "done")


def test_a_missing_dynammo_is_told_at_once(tmp_path: Path) -> None:
    commands = lib("commands")
    with pytest.raises(commands.CommandFailed, match=r"--conf dynammo FILE"):
        commands.dynammo_command(tmp_path, {"dynammo": str(tmp_path / "none")})


DYNAMMO = """#!{python}
import json, pathlib, shutil, sys

words = sys.argv[1:]
option = lambda name: pathlib.Path(words[words.index(name) + 1])
with open({log!r}, "a") as log:
    print(json.dumps(words), file=log)
if words[0] == "learn":
    if (option("--input") / "train" / "broken").exists():
        sys.exit("error: the disk is full.")
    lost = 5.0 if (option("--input") / "train" / "forgetful").exists() else 0.0
    option("--report").write_text(json.dumps({{"lost_points": lost, "max_drop": 2.0}}))
    (option("-o") / "tasks").mkdir(parents=True)
    (option("-o") / "tasks" / "2.pt").write_text("contribution")
    sys.exit(lost > 2)
about = option("-o") / "configs" / "metadata.json"
about.write_text(json.dumps({{**json.loads(about.read_text()), "version": "0.2.0"}}))
"""  # learns and exports nothing, but takes the words and leaves the files that dynammo does


class Store:
    """A datastore of labelled images."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pairs = folder, []

    def add(self, *names: str) -> None:
        for name in names:
            image, label = labelled(self.folder, len(self.pairs), {"label": name})
            self.pairs.append({"image": str(image), "label": str(label)})

    def datalist(self) -> list[dict[str, str]]:
        return self.pairs


class Teacher:
    """The app's training task with a datastore, and the words that dynammo was called with."""

    def __init__(self, bundle: Path, folder: Path) -> None:
        self.model, self.log, self.store = write_label_app(bundle, folder / "app"), folder / "words", Store(folder)
        program = folder / "dynammo"
        program.write_text(DYNAMMO.format(python=sys.executable, log=str(self.log)))
        program.chmod(0o700)
        learn = lib("learn")
        self.not_learnt = learn.NotLearnt
        self.task = learn.Learn(folder / "app", self.model, {"dynammo": str(program)})

    def train(self, **request: Any) -> Any:  # noqa: ANN401
        return self.task({"val_split": 0, **request}, self.store)

    def words(self, number: int) -> list[str]:
        found: list[str] = json.loads(self.log.read_text().splitlines()[number])
        return found


@pytest.fixture
def teacher(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Teacher:
    """MONAI Label is not here: of it the training task takes a base class without code."""
    stand_in = ModuleType("monailabel.interfaces.tasks.train")
    stand_in.TrainTask = type("TrainTask", (), {"__init__": lambda self, description: None})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, stand_in.__name__, stand_in)
    for name in ("monailabel", "monailabel.interfaces", "monailabel.interfaces.tasks"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return Teacher(bundle, tmp_path)


def test_what_was_learnt_is_exported_over_a_copy_and_served(teacher: Teacher) -> None:
    teacher.store.add("BCC", "BCC", "BCC")
    result = teacher.train()
    assert result["served"] and result["version"] == "0.2.0" and result["images"] == {"BCC": 3}
    assert lib("served").served_bundle(teacher.model) == teacher.model / "2"
    assert teacher.words(0)[:3] == ["learn", "--model", str(teacher.model / "1")]
    assert teacher.words(1)[0] == "export" and "--no-onnx" in teacher.words(1)
    teacher.store.add("AK")
    assert teacher.train()["images"] == {"AK": 1}, "each image is learnt once"
    assert teacher.words(2)[2] == str(teacher.model / "2" / "run"), "what the run knows beyond its export is used"
    assert {folder.name for folder in teacher.model.iterdir() if folder.is_dir()} == {"1", "2", "3"}


def test_classes_that_cannot_be_updated_are_tested_with(teacher: Teacher) -> None:
    teacher.store.add("NV", "NV")
    with pytest.raises(teacher.not_learnt, match=r"only tested with.*label-app --run RUN"):
        teacher.train()
    teacher.store.add("BCC")
    result = teacher.train()
    assert (result["images"], result["test_images"]) == ({"BCC": 1}, {"NV": 2})


def test_a_model_that_forgot_too_much_is_not_served(teacher: Teacher) -> None:
    teacher.store.add("forgetful")
    result = teacher.train()
    assert not result["served"] and "lost 5.0 points" in result["reason"]
    assert [folder.name for folder in teacher.model.iterdir() if folder.is_dir()] == ["1"]


def test_a_failure_is_told_in_the_words_of_dynammo(teacher: Teacher) -> None:
    teacher.store.add("broken")
    with pytest.raises(teacher.not_learnt, match="dynammo learn failed: the disk is full"):
        teacher.train()
    assert [folder.name for folder in teacher.model.iterdir() if folder.is_dir()] == ["1"]


def test_one_training_at_a_time(teacher: Teacher) -> None:
    from filelock import FileLock

    teacher.store.add("BCC")
    with FileLock(teacher.model / ".lock"), pytest.raises(teacher.not_learnt, match="runs already"):
        teacher.train()
    left = lib("served").new_aside(teacher.model)  # of a training that was killed
    assert teacher.train()["served"]
    assert not left.exists()


@pytest.mark.parametrize(
    "request_", [{"run_id": "evaluate"}, {"val_split": "many"}, {"val_split": 1}, {"max_drop": -1}, {"max_drop": "nan"}]
)
def test_impossible_wishes_are_refused(teacher: Teacher, request_: dict[str, Any]) -> None:
    with pytest.raises(teacher.not_learnt, match=r"expected|must be numbers"):
        teacher.train(**request_)


def test_viewers_send_lists_of_choices(teacher: Teacher) -> None:
    teacher.store.add("BCC")
    assert teacher.train(run_id=["increment", "training"], max_drop=[2.0], client_id="viewer")["served"]
