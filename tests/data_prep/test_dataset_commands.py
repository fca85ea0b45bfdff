"""Every command of docs/datasets.md runs as typed, on made-up copies of the downloads."""

import re
import shlex
from pathlib import Path

import pytest
from synthetic.datasets import ROOT
from synthetic.downloads import cifar100, class_folders, dicom_studies, isic2019, medmnist, path16, rows, run, table

PAGE = (ROOT / "docs" / "datasets.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) for line in block.strip().splitlines()]
PUBLISHED_SUMS = {"medmnist", "cifar100"}  # made-up archives cannot have them


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the commands of the page are typed."""
    folder = tmp_path_factory.mktemp("downloaded")
    here = folder / "downloads"
    isic2019(here / "isic2019")
    path16(here / "path16")
    medmnist(here / "bloodmnist.npz")
    medmnist(here / "organmnist3d.npz", 11, (8, 8, 8))
    cifar100(here / "cifar-100-python.tar.gz")
    pictures = sorted(path.name for path in class_folders(here / "clinic").rglob("*.png"))
    table(here / "groups.csv", "file,group", [f"{name},{name.split('_')[0]}" for name in pictures])
    dicom_studies(here / "pacs")
    (here / "pacs" / "labels.csv").rename(here / "labels.csv")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_makes_a_list(command: str, downloads: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(downloads)
    words = shlex.split(command)
    assert words[:2] == ["python", "-m"] and words[2].startswith("data_prep.")
    module = words[2].removeprefix("data_prep.")
    status, output = run(module, *words[3:], *(["--unchecked"] if module in PUBLISHED_SUMS else []))
    assert status == 0, output
    base = Path(re.findall(r"--dataset_dir (\S+)", output)[0])
    found = rows(Path(words[words.index("-o") + 1]))
    assert {row["split"] for row in found} == {"train", "test"}
    assert all((base / row["path"]).is_file() for row in found)


def test_the_page_shows_every_command_of_a_public_set() -> None:
    shown = {command.split()[2].removeprefix("data_prep.") for command in COMMANDS}
    assert shown == {"isic2019", "path16", "medmnist", "cifar100", "image_folder", "dicom_folder"}
