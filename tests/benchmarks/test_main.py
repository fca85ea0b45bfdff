"""`python -m benchmarks ...` as it is typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks import cost, learning_cost
from benchmarks.__main__ import app, main

TINY = ["--image-size", "32", "--stages", "2", "--repeats", "1", "--batch-size", "2", "--threads", "1"]
SPREAD = {"median", "lowest", "highest"}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a command line."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def test_benchmark_cost_writes_what_it_prints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning_cost, "HEAD_EPOCHS", 2)  # 100 take seconds
    monkeypatch.setattr(learning_cost, "BALANCED_IMAGES", 8)
    file = tmp_path / "cost.json"
    result = CliRunner().invoke(app, ["cost", *TINY, "--json", str(file)])
    assert result.exit_code == 0, result.output
    for words in ("resnet18, 2 stages", "ACL", "IncrementalTrainer", "times 100", "at least 20"):
        assert words in result.output
    record = json.loads(file.read_text())
    keys = {"gmac", "images_per_second", "head_tuning_speedup", "trainer_to_bare_loop", "spread"}
    assert keys | {"settings", "versions", "device", "machine", "commit", "command", "date"} == set(record)
    for figures in (record["gmac"], record["images_per_second"]):
        assert set(figures) == {"backbone", "merged", "acl"}
        assert set(figures["merged"]) == set(figures["acl"]) == {"1", "4", "10"}
    merged, acl = record["gmac"]["merged"], record["gmac"]["acl"]
    assert merged["1"] == merged["4"] == merged["10"] == acl["1"] > record["gmac"]["backbone"]
    assert acl["1"] < acl["4"] < acl["10"]
    assert set(record["spread"]["images_per_second"]["acl"]["10"]) == SPREAD
    assert record["spread"]["trainer_to_bare_loop"]["median"] == record["trainer_to_bare_loop"]
    assert record["settings"]["image_size"] == 32
    assert record["settings"]["threads"] == 1
    assert {"python", "torch", "monai", "dynammo"} <= set(record["versions"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--threads", "0"], "threads is 0; give --threads a whole number from 1."),
        (["--architecture", "vgg"], "architecture is 'vgg'; expected one of resnet18"),
        (["--stages", "5"], "stages is 5;"),
        (["--image-size", "8", "--stages", "4"], "image_size 8 leaves 1 pixels"),
        (["--image-size", "-1"], "image_size -1 leaves"),
        (["--json", "no/such/folder/cost.json"], "cannot be written"),
        (["--json", "."], "is not a file"),
    ],
)
def test_bad_input_is_one_sentence_and_status_1(
    arguments: list[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cost, "count_gmac", lambda settings: pytest.fail("measured in spite of bad input"))
    status, out, err = run(capsys, "cost", *arguments)
    assert (status, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sentence in err


def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "cost", "--threads", "two")[0] == 2


def test_ctrl_c_is_status_130_and_quiet(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cost, "benchmark_cost", interrupt)
    assert run(capsys, "cost") == (130, "", "")


@pytest.mark.parametrize("arguments", [["--help"], ["cost", "--help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, *arguments)
    assert status == 0
    assert "Usage" in out
