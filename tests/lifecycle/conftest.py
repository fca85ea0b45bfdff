"""Models of a few colours that learn, forget and are combined; nothing is drawn."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic.datasets import ROOT
from synthetic.lifecycle import (
    backbone_weights,
    colours,
    trained,
)
from synthetic.runs import without_plots

Make = Callable[..., Path]


@pytest.fixture(scope="module", autouse=True)
def no_plots() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        without_plots(patch)
        yield


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return backbone_weights(tmp_path_factory.mktemp("weights") / "backbone.pth")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, weights: str) -> Make:
    """Run of a method on colours, cut into tasks such as `blue,green red`; each is trained once."""
    done: dict[tuple[str, str, str], Path] = {}

    def make(tasks: str, method: str = "analytic", /, **settings: Any) -> Path:  # noqa: ANN401
        key = (tasks, method, str(settings))
        if key not in done:
            folder = tmp_path_factory.mktemp(method)
            names = [task.split(",") for task in tasks.split()]
            data = colours(folder / "data", *(name for task in names for name in task))
            before = Path.cwd()
            os.chdir(ROOT)
            try:
                done[key] = trained(data, folder / "run", names, method, weights=weights, **settings)
            finally:
                os.chdir(before)
        return done[key]

    return make
