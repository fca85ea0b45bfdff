"""What a file says of classes, in any of its forms, or one sentence that names what is wrong."""

from pathlib import Path

import pytest

from dynammo.data.class_file import class_file_beside, describe_classes
from dynammo.errors import UserError

CLASSES = ["NV", "MEL", "no"]
ABOUT = {
    "NV": {"name": "Naevus", "mark": "benign"},
    "MEL": {"name": "Melanoma", "code": "93655004", "mark": "malignant"},
}
FORMS = {
    "a.json": '{"MEL": {"name": "Melanoma", "code": 93655004, "mark": "malignant"}, '
    '"NV": {"name": "Naevus", "mark": "benign"}, "no": {}}',
    "a.yaml": "MEL: {name: Melanoma, code: 93655004, mark: malignant}\nNV:\n  name: Naevus\n  mark: benign\nno: {}\n",
    "a.csv": "class;name;code;mark\nMEL;Melanoma;93655004;malignant\nNV;Naevus;;benign\n",
}


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize("name", FORMS)
def test_every_form_says_the_same(tmp_path: Path, name: str) -> None:
    found = describe_classes(written(tmp_path, name, FORMS[name]), CLASSES)
    assert found == ABOUT and list(found) == ["NV", "MEL"]


def test_what_the_record_says_stays_where_the_file_is_silent(tmp_path: Path) -> None:
    known = {"MEL": {"name": "Old"}, "no": {"mark": "urgent"}, "gone": {"name": "Forgotten"}}
    found = describe_classes(written(tmp_path, "a.csv", FORMS["a.csv"]), CLASSES, known)  # type: ignore[arg-type]
    assert found == {**ABOUT, "no": {"mark": "urgent"}}
    assert describe_classes(None, CLASSES) == {}
    assert describe_classes(None, ["NV"], known) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", '{"BCC": {}}', "the class 'BCC', which the model does not have; its classes are NV, MEL, no"),
        ("a.json", '{"NV": {}, "NV": {}}', "'NV' comes twice"),
        ("a.yaml", "NV: {}\nNV: {}\n", "'NV' comes twice"),
        ("a.csv", "class,name\nNV,a\nNV,b\n", "'NV' comes twice"),
        ("a.csv", "name,mark\nNV,benign\n", "not class, name, code, mark"),
        ("a.json", '{"NV": {"mark": "bad"}}', "the mark 'bad'; expected malignant, benign or urgent"),
        ("a.json", '{"NV": {"code": "C43"}}', "the code 'C43'; expected a code of SNOMED CT"),
        ("a.json", '{"NV": {"name": "a\\nb"}}', "expected one line"),
        ("a.json", '{"NV": {"colour": "red"}}', "has 'colour'; expected for each class name, code and mark"),
        ("a.json", '{"NV": "Naevus"}', "is 'Naevus'; expected for each class"),
        ("a.json", "[]", "no mapping of classes"),
        ("a.json", "{", "cannot be read"),
        ("a.yaml", "NV: {name: !!python/object:os.system x", "cannot be read"),
        ("a.yaml", "NV: [", "cannot be read"),
        ("a.csv", "", "not class, name, code, mark"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        describe_classes(written(tmp_path, name, text), CLASSES)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no class file"):
        describe_classes(tmp_path / "gone.json", CLASSES)


def test_the_file_beside_the_data(tmp_path: Path) -> None:
    images = written(tmp_path, "list.csv", "path,label\n")
    assert class_file_beside(images) is None and class_file_beside(tmp_path) is None
    file = written(tmp_path, "classes.yaml", "")
    assert class_file_beside(images) == class_file_beside(tmp_path) == file
    own = written(tmp_path, "classes.json", "[]")
    assert class_file_beside(own) == file  # a data list may be called so
