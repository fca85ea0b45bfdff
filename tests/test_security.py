"""Nothing that is loaded can run code, and nothing that is unpacked or listed leaves its folder."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from synthetic.datasets import ROOT

from dynammo import NOTICE

SOURCES = [path for folder in ("dynammo", "data_prep") for path in sorted((ROOT / folder).rglob("*.py"))]
RUN_CODE = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "codeop", "runpy"}
FORBIDDEN = {
    "eval", "exec", "compile", "__import__", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen",
    "extractall", "unpack_archive", "mlflow.pyfunc.load_model", "mlflow.pytorch.load_model", "pytorch.load_model",
    "pyfunc.load_model", "pandas.read_pickle", "torch.hub.load",
}  # fmt: skip
TORCHSCRIPT = {  # runs what is in the file: our own export, and the app, whose bundle is a program
    "dynammo/export/agreement.py", "dynammo/export/monai_label_app/lib/loading.py",
    "dynammo/networks/encoder_sources.py",  # where the user has typed --trust-model
}  # fmt: skip
WEIGHTS_ONLY = {"torch.load", "torch.hub.load_state_dict_from_url"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call, by the dotted name that is typed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            plain = all(part.isidentifier() for part in name.split("."))
            yield name if plain else f"().{name.rpartition('.')[2]}", node


def constant(call: ast.Call, name: str) -> object:
    return next((k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_that_is_loaded_can_run_code(source: Path) -> None:
    tree = ast.parse(source.read_text())
    imported = {
        (alias.name if isinstance(node, ast.Import) else node.module or "").split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not imported & RUN_CODE
    for name, call in calls(tree):
        if ast.unparse(call) == "exec('')":  # runs nothing; why it is there: dynammo/cli.py
            continue
        where = f"{source.name}:{call.lineno} {name}"
        if ast.unparse(call) == "exec('')":  # of nothing, see dynammo/cli.py
            continue
        assert name not in FORBIDDEN and name.rpartition(".")[2] not in {"extractall", "unpack_archive"}, where
        assert name != "torch.jit.load" or source.relative_to(ROOT).as_posix() in TORCHSCRIPT, where
        assert name not in WEIGHTS_ONLY or constant(call, "weights_only") is True, where
        assert constant(call, "shell") is not True and constant(call, "allow_pickle") is not True, where


def test_the_check_finds_what_it_is_for(tmp_path: Path) -> None:
    for line in (
        "import pickle", "torch.load(file)", "torch.load(file, weights_only=False)", "yaml.load(text)", "eval('1')",
        "archive.extractall()", "subprocess.run('ls', shell=True)", "np.load(file, allow_pickle=True)",
    ):  # fmt: skip
        (tmp_path / "made_up.py").write_text(line)
        with pytest.raises(AssertionError):
            test_nothing_that_is_loaded_can_run_code(tmp_path / "made_up.py")


PRINT = {"print", "typer.echo", "click.echo", "sys.stdout.write", "sys.stderr.write"}
SAFE = {"printable", "len"}


def raw_parts(node: ast.expr) -> list[str]:
    """What of a text that is printed is neither written in the source nor made printable."""
    if isinstance(node, ast.JoinedStr):
        return [part for value in node.values for part in raw_parts(value)]
    if isinstance(node, ast.FormattedValue):
        return raw_parts(node.value)
    safe = isinstance(node, ast.Constant) or (isinstance(node, ast.Call) and ast.unparse(node.func) in SAFE)
    return [] if safe else [ast.unparse(node)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_text_of_others_is_made_printable_before_it_is_printed(source: Path) -> None:
    """By `dynammo.runtime.plain.say`, `dynammo.errors.printable` or `dynammo.runtime.terminal.Terminal`."""
    where = source.relative_to(ROOT).as_posix() if source.is_relative_to(ROOT) else source.name
    own = {"dynammo/export/monai_label_app/start.py": {"options.host", "options.port", "NOTICE"}}.get(where, set())
    for name, call in calls(ast.parse(source.read_text())):
        if name in PRINT:
            assert not {part for argument in call.args for part in raw_parts(argument)} - own, f"{where}:{call.lineno}"
        assert not name.endswith(".expanduser") or name == "os.path.expanduser", "take dynammo.runtime.plain.expanded"
        assert name not in {"Console", "rich.print"} or where == "dynammo/runtime/terminal.py", f"{where}:{call.lineno}"


@pytest.mark.parametrize(
    "line", ["print(f'{path} is damaged')", "typer.echo(name)", "print('a', name)", "Console()", "path.expanduser()"]
)
def test_the_check_of_prints_finds_what_it_is_for(line: str, tmp_path: Path) -> None:
    (tmp_path / "made_up.py").write_text(line)
    with pytest.raises(AssertionError):
        test_text_of_others_is_made_printable_before_it_is_printed(tmp_path / "made_up.py")


def test_the_disclaimer_stands_in_one_place() -> None:
    holders = {path for path in (ROOT / "dynammo").rglob("*.py") if "not a medical device" in path.read_text().lower()}
    app = ROOT / "dynammo" / "export" / "monai_label_app" / "lib" / "__init__.py"  # it runs where dynammo is not
    assert holders == {ROOT / "dynammo" / "__init__.py", app}
    assert f'NOTICE = "{NOTICE}"' in app.read_text()
    assert json.loads((ROOT / "bundle/configs/metadata.json").read_text())["intended_use"].startswith(NOTICE)
