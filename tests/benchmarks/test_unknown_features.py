"""Features that scores of unknown images are compared on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import resnet18
from PIL import Image

from benchmarks.unknown_features import features_of, groups_in

pytestmark = pytest.mark.usefixtures("in_root")
HEAD = "path,class,split,group"


def test_groups_are_patients_or_cells_or_single_images(tmp_path: Path) -> None:
    rows = ["train/a/1.png,a,train,p1", "train/a/2.png,a,train,p1", "train/a/3.png,a,train,p2"]
    rows += ["train/b/1.png,b,train,block", "train/b/2.png,b,train,block", "test/b/3.png,b,test,block"]
    rows += [f"train/blood_x/train_{cell}_{i}.jpg,blood_x,train,one" for i, cell in enumerate((7, 7, 8))]
    (tmp_path / "manifest.csv").write_text("\n".join([HEAD, *rows]))
    groups = groups_in(tmp_path)
    assert len(groups) == 8 and len(set(groups.values())) == 6
    assert (
        groups[tmp_path / "train/a/1.png"] == groups[tmp_path / "train/a/2.png"] != groups[tmp_path / "train/a/3.png"]
    )
    first, second, third = (groups[tmp_path / f"train/a/{i}.png"] for i in (1, 2, 3))
    assert first == second != third
    assert groups[tmp_path / "train/b/1.png"] != groups[tmp_path / "train/b/2.png"]
    assert groups[tmp_path / "train/blood_x/train_7_0.jpg"] == groups[tmp_path / "train/blood_x/train_7_1.jpg"]


def test_features_are_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, random = tmp_path / "data" / "derm8", np.random.default_rng(0)
    rows = [HEAD]
    for part, count in (("train", 2), ("test", 1)):
        for name in ("AK", "BCC"):
            (data / part / name).mkdir(parents=True)
            for i in range(count):
                file = f"{part}/{name}/{i}.png"
                Image.fromarray(random.integers(0, 255, (40, 40, 3)).astype(np.uint8)).save(data / file)
                rows.append(f"{file},{name},{part},{name}{i}")
    (data / "manifest.csv").write_text("\n".join(rows))
    (tmp_path / "weights").mkdir()
    made = resnet18(n_input_channels=3, spatial_dims=2, conv1_t_stride=2, shortcut_type="B", bias_downsample=False)
    weights = {name: v for name, v in made.state_dict().items() if not name.startswith(("layer4", "fc"))}
    torch.save(weights, tmp_path / "weights" / "resnet18_imagenet1k_to_layer3.pth")
    monkeypatch.setenv("DYNAMMO_SHARED", str(tmp_path))

    first = features_of("derm8", tmp_path / "kept", copies=False)
    assert first.classes == ("AK", "BCC") and first.train.shape == (4, 1, 2048) and first.test.shape == (2, 2048)
    assert first.labels.tolist() == [0, 0, 1, 1] and first.test_labels.tolist() == [0, 1]
    assert len(first.groups.unique()) == 4
    monkeypatch.setattr("benchmarks.unknown_features._passed", lambda *_: pytest.fail("read anew"))
    again = features_of("derm8", tmp_path / "kept", copies=False)
    assert torch.equal(first.train, again.train) and torch.equal(first.test, again.test)
