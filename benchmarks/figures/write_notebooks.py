"""Write the tutorials as notebooks with what they print: `python -m benchmarks.figures.write_notebooks`.

The pages docs/tutorial-*.md are the source: their text and their Python blocks become cells, which are run in order.
"""

import ast
import contextlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynammo.runtime.files import write_atomically

__all__ = ["cells_of", "run_cell"]

DOCS = Path("docs")
BLOCK = re.compile(r"```python\n(.*?)```\n?", re.DOTALL)
LINK = re.compile(r" The same steps as a notebook.*")
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}


def cells_of(page: str) -> Iterator[tuple[str, str]]:
    """`markdown` or `code`, and the source, of every cell of a tutorial."""
    for number, part in enumerate(BLOCK.split(page)):
        text = part.strip() if number % 2 else LINK.sub("", part).strip()
        if text:
            yield ("code" if number % 2 else "markdown"), text


def run_cell(source: str, names: dict[str, Any]) -> str:
    """Run a cell; what it prints, and its last value where it has one."""
    body = ast.parse(source).body
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        last = ast.Expression(body.pop().value) if body and isinstance(body[-1], ast.Expr) else None  # type: ignore[attr-defined]
        exec(compile(ast.Module(body, []), "<cell>", "exec"), names)
        value = eval(compile(last, "<cell>", "eval"), names) if last is not None else None
    return shown.getvalue() + (f"{value!r}\n" if value is not None else "")


def notebook(page: str) -> dict[str, Any]:
    """A tutorial as a notebook, run in an empty folder."""
    cells: list[dict[str, Any]] = []
    names: dict[str, Any] = {}
    for kind, source in cells_of(page):
        cell: dict[str, Any] = {
            "cell_type": kind, "id": f"cell-{len(cells)}", "metadata": {}, "source": source.splitlines(keepends=True)
        }  # fmt: skip
        if kind == "code":
            text = run_cell(source, names).splitlines(keepends=True)
            output = [{"output_type": "stream", "name": "stdout", "text": text}] if text else []
            cell |= {"execution_count": None, "outputs": output}
        cells.append(cell)
    return {"cells": cells, "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    """Write every notebook."""
    pages = {file: file.read_text(encoding="utf-8") for file in sorted(DOCS.glob("tutorial-*.md"))}
    for file, page in pages.items():
        target = (DOCS / "tutorials" / f"{file.stem.removeprefix('tutorial-')}.ipynb").resolve()
        target.parent.mkdir(exist_ok=True)
        before = Path.cwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                made = json.dumps(notebook(page), indent=1, ensure_ascii=False) + "\n"
            finally:
                os.chdir(before)
        write_atomically(target, lambda out, made=made: out.write(made.encode()))  # type: ignore[misc]


if __name__ == "__main__":
    main()
