"""Where the page may be reached from, and what its server refuses."""

import socket
from pathlib import Path

import pytest
from flask import Flask

from dynammo.clinic.uploads import UploadLimits
from dynammo.errors import UserError

pytest.importorskip("waitress", reason="waitress is not installed: pip install 'dynammo[serve]'")

from dynammo.clinic.server import bind, serve
from dynammo.clinic.web_app import NOTICE


def test_only_this_machine_unless_allowed() -> None:
    for host in ("0.0.0.0", "192.168.1.7", "ward7", "::"):
        with pytest.raises(UserError, match=r"--allow-network"):
            serve(None, host=host)


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
