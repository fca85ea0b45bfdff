"""A program that calls ours is as it was before."""

import random
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from monai.utils import get_seed, set_determinism

from dynammo.lifecycle.guest import as_guest


def drawn() -> list[float]:
    return [random.random(), float(np.random.rand()), float(torch.rand(()))]


def test_everything_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = drawn()
    random.setstate(before[0])
    np.random.set_state(before[1])
    torch.set_rng_state(before[2])
    seed, threads, hook = get_seed(), torch.get_num_threads(), sys.excepthook
    switches = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    with pytest.raises(KeyError), as_guest():
        set_determinism(7)
        torch.set_num_threads(threads + 1)
        monkeypatch.setattr(sys, "excepthook", print)
        torch.backends.cudnn.benchmark = not switches[1]
        raise KeyError
    assert drawn() == expected
    assert (get_seed(), torch.get_num_threads(), sys.excepthook) == (seed, threads, hook)
    assert (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark) == switches


def test_it_is_silent_unless_asked_and_others_are_heard(capsys: pytest.CaptureFixture[str]) -> None:
    with as_guest():
        print("ours")
        print("ours", file=sys.stderr)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("ours", stacklevel=1)
        other = threading.Thread(target=print, args=("theirs",))
        other.start()
        other.join()
    with as_guest(verbose=True):
        print("asked for")
    found = capsys.readouterr()
    assert found.out == "theirs\nasked for\n" and "ours" not in found.err
