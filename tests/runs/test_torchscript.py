"""Tensors of TorchScript files, taken out without running what is in them."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic.records import export
from torch import nn

from dynammo.errors import UserError
from dynammo.runs.load import load_model
from dynammo.runs.torchscript import torchscript_state

Trained = Callable[..., Path]


class Kinds(nn.Module):
    """Tensors of many kinds, in modules in modules, beside what is no tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.sizes, self.share = ["a", "b"], [1, 2], 0.5
        self.table = {"a": 1}
        self.inner = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        for kind in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool):
            self.register_buffer(str(kind).replace(".", "_"), torch.tensor([[0, 1, 2], [3, 4, 5]]).to(kind).T)
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("one", torch.tensor(7.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)  # type: ignore[no-any-return]


class Writes(nn.Module):
    """Loaded by torch, it writes a file."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self.file, self.weight = file, nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool, torch.Tensor]:
        return (self.file, self.training, self.weight)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool, torch.Tensor]) -> None:
        self.file = state[0]
        self.training = state[1]
        self.weight = torch.from_file(self.file, True, 2, dtype=torch.float32).fill_(1.0)


def test_it_is_the_state_that_torch_would_load(tmp_path: Path) -> None:
    torch.jit.script(Kinds()).save(str(tmp_path / "kinds.ts"))
    expected = torch.jit.load(str(tmp_path / "kinds.ts")).state_dict()
    found = torchscript_state(tmp_path / "kinds.ts")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype, name


def with_record(file: Path, model: Path) -> None:
    """Give a TorchScript file the record of another."""
    with zipfile.ZipFile(model) as source, zipfile.ZipFile(file, "a") as target:
        root = target.namelist()[0].split("/")[0]
        record = next(name for name in source.namelist() if name.endswith("extra/run.json"))
        target.writestr(f"{root}/extra/run.json", source.read(record))


def test_a_setstate_does_not_run(trained: Trained, tmp_path: Path) -> None:
    model = export(trained(), tmp_path / "bundle") / "model.ts"
    harmful, trace = tmp_path / "harmful.ts", tmp_path / "trace"
    torch.jit.script(Writes(str(trace))).save(str(harmful))
    torch.jit.load(str(harmful))
    assert trace.exists(), "it would have written"
    trace.unlink()
    with_record(harmful, model)
    with pytest.raises(UserError, match=r"is damaged|do not fit the network"):
        load_model(harmful)
    assert not trace.exists()


def archive(pickled: bytes, **members: bytes) -> Path:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as target:
        for name, data in {"data.pkl": pickled, **members}.items():
            target.writestr(f"m/{name}", data)
    return content  # type: ignore[return-value]


def built(*arguments: Any) -> bytes:  # noqa: ANN401
    """A module with one tensor, as torch pickles it."""
    code = pickle.dumps(arguments, 2)[2:-1].replace(b"q\x00", b"")
    return (
        b"\x80\x02c__torch__ M\n)\x81}(X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n" + code + b"Rub."
    ).replace(b"c__torch__ M\n", b"c__torch__\nM\n")


STORAGE = ("storage", "torch FloatStorage", "0", "cpu", 4)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((STORAGE, 0, (2**40, 4), (0, 1), False), "more numbers than there are"),
        ((STORAGE, 3, (4,), (1,), False), "."),  # beyond the end
        ((STORAGE, -1, (1,), (1,), False), "no size"),
        ((STORAGE, 0, (2, 2), (9, 1), False), "."),
        ((("storage", "torch OddStorage", "0", "cpu", 4), 0, (1,), (1,), False), "OddStorage"),
        ((("storage", "torch FloatStorage", "9", "cpu", 4), 0, (1,), (1,), False), "data/9"),
    ],
)
def test_tensors_that_are_not_there_are_refused(arguments: Any, sentence: str, tmp_path: Path) -> None:  # noqa: ANN401
    def state(*values: Any) -> dict[str, torch.Tensor]:  # noqa: ANN401
        content = archive(built(*values), **{"data/0": bytes(16)})
        (tmp_path / "it.ts").write_bytes(content.getvalue())  # type: ignore[attr-defined]
        return torchscript_state(tmp_path / "it.ts")

    assert torch.equal(state(STORAGE, 0, (2, 2), (2, 1), False)["w"], torch.zeros(2, 2))
    with pytest.raises((ValueError, RuntimeError, KeyError), match=sentence):
        state(*arguments)


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_that_call_are_refused(protocol: int, tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "it.ts").write_bytes(archive(pickle.dumps(Harm(), protocol)).getvalue())  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"no module|which torch does not write"):
        torchscript_state(tmp_path / "it.ts")
    assert not (tmp_path / "ran").exists()


def test_modules_in_modules_without_end_are_refused(tmp_path: Path) -> None:
    """Sixty modules, each of which holds the next one twice."""
    code = b"\x80\x02"
    for number in range(60):
        code += b"c__torch__\nM\n)\x81" + b"r" + number.to_bytes(4, "little")
        inner = b"j" + (number - 1).to_bytes(4, "little") if number else b"N"
        code += b"}(X\x01\x00\x00\x00a" + inner + b"X\x01\x00\x00\x00b" + inner + b"ub"
    (tmp_path / "it.ts").write_bytes(archive(code + b".").getvalue())  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="too many modules"):
        torchscript_state(tmp_path / "it.ts")
