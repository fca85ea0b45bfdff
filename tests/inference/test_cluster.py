"""A local Ray with two workers: results of every study once, although a worker is killed on the way."""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from dynammo.errors import UserError
from dynammo.inference import cluster
from dynammo.inference.classifier import Result
from dynammo.inference.cluster import LOCAL, classify_on_cluster
from dynammo.io.studies import Study

# not imported here: Ray reads when it is imported whether it is to ask for a secret
with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install 'dynammo[ray]'")


class Slow:
    """Takes a tenth of a second for a study, and tells which process did it."""

    def classify(self, studies: Sequence[Study]) -> Iterator[Result]:
        for study in studies:
            time.sleep(0.1)
            yield Result({"path": study.name, "class": str(os.getpid())}, (study.name.encode(), None))


def without_model() -> Slow:
    raise UserError("there is no model here.")


def studies(count: int) -> list[Study]:
    return [Study((Path(f"/images/{i}.png"),), f"{i}.png") for i in range(count)]


@pytest.mark.spread
@with_ray
def test_a_killed_worker_loses_and_doubles_nothing() -> None:
    given, found, killed = studies(200), [], ""  # so many that the killed one always has work before it
    for item, picture in classify_on_cluster(LOCAL, given, Slow, workers=2):
        assert picture == (item["path"].encode(), None)
        found.append(item)
        if len(found) == 12:
            killed = item["class"]
            os.kill(int(killed), signal.SIGKILL)
    assert Counter(item["path"] for item in found) == Counter(study.name for study in given)
    assert len({item["class"] for item in found}) == 3, "two workers, and the one that took the place of the killed"


@pytest.mark.spread
@with_ray
def test_a_worker_that_cannot_work_says_why() -> None:
    with pytest.raises(UserError, match="a worker of the cluster cannot work: there is no model here"):
        list(classify_on_cluster(LOCAL, studies(3), without_model, workers=2))


def test_without_ray_it_says_what_to_type() -> None:
    with patch.dict("sys.modules", {"ray": None}), pytest.raises(UserError, match="pip install 'dynammo\\[ray\\]'"):
        list(classify_on_cluster(LOCAL, studies(1), Slow))


def nobody_answers(address: str, **_: object) -> None:
    raise ConnectionError(address)


@pytest.mark.parametrize("has_token", [True, False])
def test_a_cluster_is_asked_with_the_token_that_is_at_hand(
    has_token: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    if has_token:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("of the head")
    with (
        patch.dict("sys.modules", {"ray": SimpleNamespace(init=nobody_answers), "grpc": SimpleNamespace()}),
        pytest.raises(UserError, match=r"no Ray cluster answers at ray://head:1 .*auth_token"),
    ):
        list(classify_on_cluster("ray://head:1", studies(1), Slow))
    assert os.environ.get("RAY_AUTH_MODE") == ("token" if has_token else None)


def test_a_cluster_that_is_late_is_asked_again() -> None:
    asked: list[str] = []

    def late(address: str, **_: object) -> None:
        asked.append(address)
        raise ConnectionAbortedError(address)

    ray = SimpleNamespace(init=late, shutdown=lambda: asked.append("shutdown"))
    with (
        patch.dict("sys.modules", {"ray": ray, "grpc": SimpleNamespace()}),
        pytest.raises(UserError, match=r"no Ray cluster answers at ray://head:1 \(ConnectionAbortedError\)"),
    ):
        list(classify_on_cluster("ray://head:1", studies(1), Slow))
    assert asked == ["ray://head:1", "shutdown"] * 4


def test_ray_without_its_client_says_what_to_type() -> None:
    found = {"ray": SimpleNamespace(init=nobody_answers), "grpc": None}
    with patch.dict("sys.modules", found), pytest.raises(UserError, match="pip install 'dynammo\\[ray\\]'"):
        list(classify_on_cluster("ray://head:1", studies(1), Slow))


def test_what_comes_twice_counts_once_and_what_is_missing_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    def twice(*_: Any) -> Iterator[tuple[dict[str, Any], Any]]:  # noqa: ANN401
        for name in ("0.png", "1.png", "0.png"):
            yield {"path": name}, None

    monkeypatch.setattr(cluster, "_connected", lambda address: pytest.MonkeyPatch.context())
    monkeypatch.setattr(cluster, "_spread", twice)
    assert [item["path"] for item, _ in classify_on_cluster(LOCAL, studies(2), Slow)] == ["0.png", "1.png"]
    with pytest.raises(UserError, match="no result of 1 studies"):
        list(classify_on_cluster(LOCAL, studies(3), Slow))


def test_no_studies_need_no_cluster() -> None:
    assert list(classify_on_cluster("ray://nowhere:1", [], Slow)) == []
