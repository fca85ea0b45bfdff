"""The guard in front of MONAI Label: large uploads and other web sites."""

import asyncio
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import pytest
from synthetic.label_app import lib

from dynammo.export.monai_label import TEMPLATE


@pytest.fixture(scope="module", autouse=True)
def template() -> Iterator[None]:
    """The app's folder on the path, as its main.py has it."""
    sys.path.insert(0, str(TEMPLATE))
    yield
    sys.path.remove(str(TEMPLATE))
    for name in [name for name in sys.modules if name == "lib" or name.startswith("lib.")]:
        del sys.modules[name]


Message = MutableMapping[str, Any]


def ask(
    headers: dict[str, str], parts: list[bytes], megabytes: int = 1, hosts: Sequence[str] = ("127.0.0.1", "[::1]")
) -> tuple[int, bytes, int]:
    """Status, answer and bytes that reached the app behind the guard."""
    reached, sent = 0, []
    waiting = [{"type": "http.request", "body": part, "more_body": True} for part in parts]

    async def app(scope: Message, receive: Any, send: Any) -> None:  # noqa: ANN401
        nonlocal reached
        try:
            while (message := await receive())["more_body"]:
                reached += len(message["body"])
        except Exception:  # as the parser of forms does
            await send({"type": "http.response.start", "status": 400})
            return
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"classified"})

    async def receive() -> Message:
        return waiting.pop(0) if waiting else {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    guard = lib("uploads").Guard(app, megabytes, hosts, ["http://127.0.0.1:8000"])
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    asyncio.run(guard({"type": "http", "headers": fields}, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent), reached


def test_the_guard_lets_small_requests_through() -> None:
    assert ask({"host": "127.0.0.1:8000"}, [b"x" * 1000]) == (200, b"classified", 1000)
    assert ask({"host": "[::1]:8000", "origin": "http://127.0.0.1:8000"}, [])[0] == 200


def test_the_guard_refuses_large_requests_with_and_without_length() -> None:
    status, body, reached = ask({"host": "127.0.0.1", "content-length": "1000001"}, [b"x" * 1000])
    assert (status, reached) == (413, 0) and b"larger than 1 MB" in body
    status, body, reached = ask({"host": "127.0.0.1"}, [bytes(400_000)] * 4)
    assert status == 413 and b"larger than 1 MB" in body and reached <= 10**6


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "evil.example"},
        {"host": "127.0.0.1", "origin": "http://evil.example"},
        {"host": "127.0.0.1", "sec-fetch-site": "cross-site"},
    ],
)
def test_the_guard_refuses_other_web_sites(headers: dict[str, str]) -> None:
    assert ask(headers, [])[0] == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "10.0.0.5:8000"}, 200),
        ({"host": "10.0.0.5:8000", "origin": "http://10.0.0.5:8000", "sec-fetch-site": "same-origin"}, 200),
        ({"host": "scans.clinic", "origin": "https://scans.clinic"}, 200),
        ({"host": "10.0.0.5:8000", "origin": "http://127.0.0.1:8000"}, 200),
        ({"host": "10.0.0.5:8000", "origin": "http://evil.example"}, 403),
        ({"host": "10.0.0.5:8000", "origin": "http://10.0.0.5:9000"}, 403),
        ({"host": "10.0.0.5:8000", "origin": "null"}, 403),
        ({"host": "10.0.0.5:8000", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://"}, 403),
    ],
)
def test_on_a_network_the_guard_refuses_other_web_sites_too(headers: dict[str, str], status: int) -> None:
    assert ask(headers, [], hosts=())[0] == status
