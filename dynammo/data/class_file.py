"""What classes are called and how urgent they are: a small file beside the data, kept in the record of a model."""

import csv
import json
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from dynammo.errors import UserError
from dynammo.runtime.plain import expanded
from dynammo.runtime.tables import cell_text, head_of, read_text, split_table

__all__ = ["ClassAbout", "class_file_beside", "describe_classes"]

HEADS = ("class", "name", "code", "mark")
NAMES = ("classes.json", "classes.yaml", "classes.yml", "classes.csv")  # of the file that lies beside the data
EXPECTED = "expected for each class name, code and mark, each of which may be left out"


class ClassAbout(TypedDict, total=False):
    """What is known of a class; what is not known is left out."""

    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
    code: Annotated[str, Field(pattern=r"^[1-9][0-9]{5,17}$")]  # of SNOMED CT
    mark: Literal["malignant", "benign", "urgent"]


@cache
def _schema() -> TypeAdapter[ClassAbout]:
    return TypeAdapter(ClassAbout)


def describe_classes(
    file: str | Path | None, classes: Collection[str], known: Mapping[str, ClassAbout] | None = None
) -> dict[str, ClassAbout]:
    """What is known of the classes of a model, in their order.

    Args:
        file: JSON or YAML, a mapping of classes to name, code (SNOMED CT) and mark (malignant, benign or urgent), or
            CSV with the columns class, name, code and mark. None for what is known alone.
        classes: of the model; the file need not name all of them.
        known: what the record of the model says; the file wins, class by class.

    Raises:
        UserError: no such file, a class that is unknown or comes twice, a mark or code that is none.
    """
    found = {} if file is None else _read(expanded(file))
    unknown = sorted(found.keys() - set(classes))
    if unknown:
        raise UserError(
            f"{file} describes the class {unknown[0][:50]!r}, which the model does not have; its classes are "
            f"{', '.join(classes)}: write one of them, or take it out."
        )
    about = {**(known or {}), **found}
    return {name: about[name] for name in classes if about.get(name)}


def class_file_beside(data: Path) -> Path | None:
    """The class file of a data set: `classes.json`, `.yaml` or `.csv` in its folder, or beside its list."""
    folder = data.parent if data.is_file() else data
    return next((folder / name for name in NAMES if (folder / name).is_file() and folder / name != data), None)


def _read(file: Path) -> dict[str, ClassAbout]:
    if not file.is_file():
        raise UserError(f"there is no class file {file}; give a JSON, YAML or CSV file with name, code and mark.")
    try:
        rows = _rows(read_text(file), file.suffix.lower())
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UserError(f"the class file {file} cannot be read ({str(error).splitlines()[0]}); {EXPECTED}.") from error
    return {name: _about(values, f"{file}, class {name[:50]!r},") for name, values in rows.items()}


def _rows(text: str, ending: str) -> dict[str, Any]:
    if ending == ".csv":
        heads, *rows = [*split_table(text, HEADS, strict=True)] or [[]]
        columns = [head_of(head) for head in heads]
        if columns.count("class") != 1:
            raise ValueError(f"it has the columns {', '.join(columns)[:100]}, not class, name, code, mark")
        cells = [dict(zip(columns, map(cell_text, row), strict=False)) for row in rows]
        return _different([(row.pop("class").strip(), row) for row in cells])
    value = json.loads(text, object_pairs_hook=_different) if ending == ".json" else _yaml(text)
    if not isinstance(value, dict):
        raise ValueError("it is no mapping of classes")
    return {str(name): about for name, about in value.items()}


def _yaml(text: str) -> Any:  # noqa: ANN401
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses keys that come twice; keys and values are text as it stands, `no` too."""

        def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:  # noqa: ANN401
            if isinstance(node, yaml.MappingNode):
                return _different([(key.value, self.construct_object(value)) for key, value in node.value])
            return node.value if isinstance(node, yaml.ScalarNode) else super().construct_object(node, deep)

    try:
        return Loader(text).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _different(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice[:50]!r} comes twice")
    return dict(pairs)


def _about(values: object, where: str) -> ClassAbout:
    if not isinstance(values, Mapping):
        raise UserError(f"{where} is {str(values)[:20]!r}; {EXPECTED}.")
    given = {str(key): str(value).strip() for key, value in values.items() if value not in (None, "")}
    for key in given.keys() - set(HEADS[1:]):
        raise UserError(f"{where} has {key[:20]!r}; {EXPECTED}.")
    try:
        return _schema().validate_python(given)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        wanted = {
            "mark": "malignant, benign or urgent",
            "code": "a code of SNOMED CT, 6 to 18 digits",
            "name": "one line of at most 255 characters",
        }
        raise UserError(f"{where} has the {key} {given[key][:30]!r}; expected {wanted[key]}.") from error
