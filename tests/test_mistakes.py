"""What people get wrong first: one sentence, the right status, and no waiting for what is not needed to say it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import Trained
from synthetic.datasets import ROOT, write_image

from dynammo.cli import main

HEAVY = (
    "import sys\nfrom dynammo.cli import main\ntry:\n    main()\n"
    "finally:\n    print({'torch', 'monai', 'mlflow'} & set(sys.modules))"
)


def typed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """Status and what stands on stderr."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    return int(stopped.value.code or 0), capsys.readouterr().err


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, trained: Trained) -> Path:
    """Folders in which something is wrong, and a model."""
    folder = tmp_path_factory.mktemp("places")
    for name in ("a", "b"):
        write_image(folder / "images" / name / "1.png", "red", ord(name))
        write_image(folder / "images" / name / "2.png", "red", 2 * ord(name))
    write_image(folder / "one" / "a" / "1.png", "red", 1)
    (folder / "empty").mkdir()
    (folder / "words").mkdir()
    (folder / "words" / "a.txt").write_text("no image")
    (folder / "half").mkdir()
    shutil.copytree(trained("analytic"), folder / "run")
    shutil.copy(folder / "run" / "run.json", folder / "half")
    return folder


MISTAKES = [
    ("no folder", ["train", "nowhere"], "there is no folder nowhere"),
    ("no class folders", ["train", "empty"], "holds no folder; expected one for each class"),
    ("one class", ["train", "one"], "has the class a alone"),
    ("no such method", ["train", "images", "--method", "analitic"], "analytic"),
    ("no such recipe", ["train", "images", "--recipe", "x-ray"], "xray"),
    ("no such weights", ["train", "images", "--weights", "w.pth"], "no file of weights w.pth"),
    ("no network for ImageNet's weights", ["train", "images"], "cannot be reached"),
    (
        "no network to compare",
        ["compare", "images", "--methods", "finetune,analytic", "-o", "out"],
        "cannot be reached",
    ),
    ("no network for vectors", ["features", "images", "-o", "out.npz"], "cannot be reached"),
    ("a setting misspelt", ["train", "images", "--set", "epoch=3"], "did you mean epochs"),
    ("a setting of another kind", ["train", "images", "--epochs", "many"], "epochs is 'many'"),
    ("tasks that do not fit", ["train", "images", "--classes-per-task", "2,2"], "sum to 4, but the data has 2"),
    ("a removed setting", ["train", "images", "--set", "small_epochs=2"], "was taken out"),
    ("nothing to classify", ["classify", "-i", "nowhere", "-o", "out", "-m", "run"], "there is no nowhere"),
    ("no model", ["classify", "-i", "images", "-o", "out", "-m", "nomodel"], "there is no nomodel"),
    ("half a model", ["classify", "-i", "images", "-o", "out", "-m", "half"], "half is not a trained model"),
    ("no model anywhere", ["classify", "-i", "images", "-o", "out"], "dynammo train FOLDER"),
    ("no model to serve", ["serve", "-m", "empty"], "empty is not a trained model"),
    ("no model to teach", ["learn", "-m", "nomodel", "-i", "images", "-o", "out"], "there is no nomodel"),
    ("nothing to learn", ["learn", "-m", "run", "-i", "nowhere", "-o", "out"], "there is no folder nowhere"),
    ("no history", ["history", "-m", "empty"], "empty is not a trained model"),
    ("nothing to export", ["export", "-m", "empty", "-o", "out"], "empty is not a trained model"),
    ("no such config", ["config", "trein"], "train"),
]


@pytest.mark.parametrize(("words", "said"), [case[1:] for case in MISTAKES], ids=[case[0] for case in MISTAKES])
def test_one_sentence_before_anything_heavy(words: list[str], said: str, places: Path) -> None:
    nowhere = {"https_proxy": "http://127.0.0.1:1", "TORCH_HOME": str(places / "empty")}
    environment = {**os.environ, **nowhere, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", HEAVY, *words]
    ended = subprocess.run(command, cwd=places, env=environment, capture_output=True, text=True)
    assert ended.returncode == 1 and said in ended.stderr, ended.stderr
    assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1
    assert ended.stdout.splitlines()[-1] == "set()"
    assert not (places / "out").exists()


@pytest.mark.parametrize("words", [["clasify"], ["classify", "-i", "x"], ["train", "x", "--sseed", "1"], ["train"]])
def test_wrong_usage_is_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, err = typed(capsys, *words)
    assert status == 2 and "Usage" in err and "Traceback" not in err


def test_what_needs_a_look_at_files(places: Path, trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    run, out = places / "run", places / "new"
    for words, said in (
        (["classify", "-i", places / "words", "-o", out, "-m", run], "no image"),
        (["classify", "-i", places / "images", "-o", run / "run.json", "-m", run], "run.json"),
        (["classify", "-i", places / "images", "-o", out, "-m", run, "--device", "gpu"], "--device"),
        (["forget", "-m", run, "-o", out, "--class", "purple"], "purple"),
        (["learn", "-m", run, "-i", places / "images", "-o", run], "holds a finished model"),
    ):
        status, err = typed(capsys, *words)
        assert status == 1 and said in err and err.count("\n") == 1, err


def test_ctrl_c_at_the_start_is_status_130_without_a_word_of_python(places: Path) -> None:
    words = [sys.executable, "-m", "dynammo", "train", "images", "--weights", "first_task", "--image_size", "32"]
    process = subprocess.Popen(
        words, cwd=places, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
