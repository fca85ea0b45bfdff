"""Every file of pydicom, nibabel and the shared folders is as other libraries read it; the docs say what came of it.

Without the shared folders what the packages carry is checked alone.
"""

from pathlib import Path

import pytest

pytest.importorskip("highdicom", reason="an extra: dynammo[clinic]")

from synthetic.datasets import write_image

from benchmarks.studies.reading_table import BEGIN, DOCS, END, Outcome, compare, outcomes, rows, share, versions, write

KNOWN = {"bits12_high15.dcm", "palette_16_values_to_255.dcm"}  # libraries fail; tests/io holds their right values


@pytest.fixture(scope="module")
def found() -> dict[str, list[Outcome]]:
    made = outcomes()
    assert "pydicom's test data" in made
    return made


def test_what_is_read_is_as_a_library_reads_it(found: dict[str, list[Outcome]]) -> None:
    files = [file for some in found.values() for file in some]
    assert {file.name for file in files if file.otherwise} <= KNOWN
    assert not [row for row in rows(found) if row.endswith("| ? |")], "a difference without a reason"
    assert not [file.refused for file in files if "damaged (" in file.refused]


def test_what_two_libraries_read_is_read(found: dict[str, list[Outcome]]) -> None:
    images, read, _ = share(found)
    assert images > 90 and read >= 0.97 * images


def test_the_docs_hold_the_table(found: dict[str, list[Outcome]]) -> None:
    table = DOCS.read_text(encoding="utf-8").split(BEGIN)[1].split(END)[0]
    if versions() not in table:
        pytest.skip(f"the table was made with other versions than {versions()}")
    here = [line for line in table.splitlines() if line.startswith(tuple(f"| {source}: " for source in found))]
    assert here == rows(found), "type python -m benchmarks.studies.reading_table"


def test_the_table_is_written_between_its_marks(tmp_path: Path) -> None:
    write_image(tmp_path / "x.png", "red", 0)
    (tmp_path / "docs.md").write_text(f"before {BEGIN} old {END} after")
    outcome = compare(tmp_path / "x.png")
    assert outcome == Outcome("x.png", "png", ["Pillow", "imagecodecs"])
    twisted = Outcome("y.png", "png", ["Pillow"], ["imagecodecs"])
    refused = Outcome("z.png", "png", [], ["Pillow", "imagecodecs"], "it is odd")
    write({"here": [outcome, twisted, refused]}, tmp_path / "docs.md")
    text = (tmp_path / "docs.md").read_text()
    assert text.startswith("before ") and text.endswith(" after") and " old " not in text
    assert "| here: png | 3 | 1 | 1 | 1 | 0 | 0 | 0 | 0 | 0 |" in text and "(66.7 %)" in text
    assert "| here: y.png | as Pillow | imagecodecs | ? |" in text
    assert "| here: z.png | refused | Pillow, imagecodecs | it is odd |" in text
