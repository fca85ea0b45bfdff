from pathlib import Path

import pytest

from dynammo.clinic.downloads import table_of
from dynammo.errors import UserError


@pytest.mark.parametrize("sent", [None, [], {}, {"items": []}, {"items": ["a"]}, {"items": [{"path": "a.png"}]}])
def test_what_are_no_results_is_refused(sent: object, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no results of this page"):
        table_of(sent, ["blue"])
