"""Where the page may be reached from, and what its server refuses."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from flask import Flask

from dynammo.clinic.uploads import UploadLimits
from dynammo.errors import UserError

pytest.importorskip("waitress", reason="waitress is not installed: pip install 'dynammo[serve]'")

from dynammo.clinic import server as module
from dynammo.clinic.server import bind, own_names, serve
from dynammo.clinic.web_app import NOTICE


def test_only_this_machine_unless_allowed() -> None:
    for host in ("0.0.0.0", "192.168.1.7", "ward7", "::"):
        with pytest.raises(UserError, match=r"--allow-network"):
            serve(None, host=host)


def test_a_machine_goes_by_its_names_and_what_was_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Ward7")
    monkeypatch.setattr(socket, "getfqdn", lambda: "ward7.hospital.example")
    assert own_names("10.0.0.7") == {"10.0.0.7", "ward7", "ward7.hospital.example", "ward7.local"}


def test_a_port_in_use_is_told(application: Flask, address: tuple[str, int], limits: UploadLimits) -> None:
    with pytest.raises(UserError, match=f"port {address[1]} cannot be used .*type --port {address[1] + 1}"):
        bind(application, *address, limits)


def test_a_gigabyte_is_refused_before_it_comes(address: tuple[str, int], png: Path) -> None:
    head = f"POST /classify HTTP/1.1\r\nHost: localhost:{address[1]}\r\nContent-Length: {2**30}\r\n\r\n"
    for _ in range(3):
        with socket.create_connection(address, timeout=5) as connection:
            connection.sendall(head.encode())
            answer = connection.makefile().read()
        assert answer.startswith("HTTP/1.1 413")
        assert "at most 2 MB" in answer
        assert NOTICE in answer
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: localhost:{address[1]}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")


@contextmanager
def running(application: Flask, limits: UploadLimits, host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    server = bind(application, host, 0, limits)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield "127.0.0.1", int(server.effective_port)
    server.close()
    thread.join(5)


def page(address: tuple[str, int], patience: float) -> bytes:
    with socket.create_connection(address, timeout=patience) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nHost: localhost:{address[1]}\r\nConnection: close\r\n\r\n".encode())
        return connection.recv(15)


def half_open(address: tuple[str, int], count: int, stack: ExitStack) -> list[socket.socket]:
    found = [stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(count)]
    for connection in found[::2]:
        connection.sendall(b"POST /classify HTTP/1.1\r\nHost: loc")
    return found


def test_half_open_connections_keep_nobody_out(address: tuple[str, int]) -> None:
    with ExitStack() as stack:
        half_open(address, 200, stack)
        time.sleep(0.5)
        assert page(address, 3) == b"HTTP/1.1 200 OK"


def test_who_does_not_say_what_he_wants_is_hung_up_on(
    application: Flask, limits: UploadLimits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEADER_SECONDS", 1)
    monkeypatch.setattr(module, "CONNECTIONS", 30)
    with running(application, limits) as address, ExitStack() as stack:
        connections = half_open(address, 60, stack)
        begun = time.monotonic()
        body = f"POST /classify HTTP/1.1\r\nHost: localhost:{address[1]}\r\nContent-Length: 9\r\n\r\n"
        assert page(address, 15) == b"HTTP/1.1 200 OK"
        upload = stack.enter_context(socket.create_connection(address, timeout=15))
        upload.sendall(body.encode())
        while time.monotonic() - begun < 4:  # a byte now and then does not help
            time.sleep(0.5)
            for connection in connections:
                with suppress(OSError):
                    connection.sendall(b"x")
        connections[0].settimeout(5)
        with pytest.raises(OSError):
            connections[0].sendall(b"x" * 9999)
            assert connections[0].recv(1) == b"", "hung up"
            raise ConnectionError
        upload.sendall(b"123456789")
        assert upload.recv(12) == b"HTTP/1.1 400", "an upload may take its time"


def test_a_name_with_several_addresses_has_a_port(application: Flask, limits: UploadLimits) -> None:
    with running(application, limits, "localhost") as address:
        assert page(address, 5) == b"HTTP/1.1 200 OK"
