"""ImageNet's weights are looked for where torch keeps them, before torch is imported."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from dynammo.errors import UserError
from dynammo.networks import imagenet
from dynammo.networks.imagenet import FILES, check_reachable, kept_at, missing_weights


@pytest.mark.parametrize(
    "variables", [{}, {"XDG_CACHE_HOME": "/caches"}, {"TORCH_HOME": "~/t", "XDG_CACHE_HOME": "/c"}]
)
def test_they_lie_where_torch_keeps_them(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for architecture, url in FILES.items():
        assert kept_at(architecture) == Path(torch.hub.get_dir(), "checkpoints", url.split("/")[-1])


def test_only_what_is_asked_for_and_absent_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert missing_weights({"architecture": "resnet18", "weights": "imagenet"}) == "resnet18"
    for settings in ({"architecture": "resnet18", "weights": "first_task"}, {"architecture": "hf:x", "weights": "own"}):
        assert missing_weights(settings) is None
    kept_at("resnet18").parent.mkdir(parents=True)
    kept_at("resnet18").touch()
    assert missing_weights({"architecture": "resnet18", "weights": "imagenet"}) is None
    assert missing_weights({"architecture": "resnet50", "weights": "imagenet"}) == "resnet50"


def test_out_of_reach_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(imagenet.urllib.request, "urlopen", unreachable)
    with pytest.raises(UserError, match=r"resnet34 .*\(no route to host\); .* put it at .*pth, or type --weights FILE"):
        check_reachable("resnet34")
