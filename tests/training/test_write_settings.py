"""What is written from the table of settings is what stands in the files."""

import yaml
from synthetic.datasets import ROOT

from dynammo.training.settings import SETTINGS
from dynammo.training.write_settings import written

TRAIN = ROOT / "bundle" / "configs" / "train.yaml"


def test_configs_and_docs_are_those_of_the_table() -> None:
    """After a change of the table: python -m dynammo.training.write_settings."""
    for file, text in written().items():
        assert file.read_text(encoding="utf-8") == text, file


def test_the_first_page_holds_every_setting_with_its_default_and_its_help() -> None:
    config = yaml.safe_load(TRAIN.read_text())
    assert {name: config[name] for name in SETTINGS} == {name: s.default for name, s in SETTINGS.items()}
    lines = {line.split(":")[0]: line for line in TRAIN.read_text().splitlines() if not line.startswith((" ", "#"))}
    assert all(setting.help in lines[name] and len(lines[name]) <= 120 for name, setting in SETTINGS.items())


def test_the_table_of_the_docs_has_a_row_for_every_setting() -> None:
    page = written()[ROOT / "docs" / "settings.md"]
    assert all(f"| `{name}` |" in page for name in SETTINGS)
    assert "| `grey` | `percentile` | percentile or window or zscore |" in page
    rows = {line.split("|")[1].strip(): line for line in page.splitlines() if line.startswith("| `")}
    assert rows["`epochs`"].endswith("| yes | task |") and rows["`grey`"].endswith("| agree |  |")
