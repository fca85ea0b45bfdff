"""`dynammo serve`: a page on this machine to drop images on; `dynammo.clinic.web_app` tells what it answers."""

import ipaddress
import socket
import warnings
from pathlib import Path
from typing import Any

from flask import Flask

from dynammo import NOTICE
from dynammo.clinic.languages import choose_language
from dynammo.clinic.uploads import MEGABYTE, UploadLimits
from dynammo.clinic.web_app import UPLOADS, make_app, too_large
from dynammo.errors import UserError
from dynammo.inference.classifier import StudyClassifier
from dynammo.runs.load import Model, load_model
from dynammo.runtime.plain import say, show_page
from dynammo.runtime.unfinished import work_folder

try:
    from waitress.channel import HTTPChannel
    from waitress.parser import HTTPRequestParser
    from waitress.server import BaseWSGIServer, create_server
    from waitress.utilities import RequestEntityTooLarge
except ImportError as error:  # an extra: only this command needs it
    raise UserError("the page needs waitress, which is not installed; type pip install 'dynammo[serve]'.") from error

__all__ = ["bind", "own_names", "serve"]

BATCH_SIZE = 4  # passes are filled up: a few images at a time must not wait for many
THREADS = 4  # one classifies, the others show the page and wait
CONNECTIONS = 500  # at once; what comes beyond waits
HEADER_SECONDS = 10  # within which a request must say what it wants
IDLE_SECONDS = 120  # a connection in the middle of an upload may fall silent for so long
MARGIN = 2**20  # bytes of a form besides its files


def serve(
    model: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8765,
    device: str = "auto",
    max_megabytes: int = 200,
    allow_network: bool = False,
    open_page: bool = True,
    engine: str = "auto",
    language: str | None = None,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        model: run, exported bundle or TorchScript file; None for the newest.
        host: address to listen on.
        port: 0 for any free one.
        device: auto, cpu or such as cuda:0.
        max_megabytes: of one upload.
        allow_network: listen on an address that other machines can reach.
        open_page: show the page in the browser.
        engine: what computes, see `dynammo.inference.engines.make_engine`.
        language: of the page; None for that of the browser.

    Raises:
        UserError: an address that other machines can reach without `allow_network`, a port in use, no model, no such
            device or engine.
    """
    _check_host(host, allow_network)
    loaded = load_model(model)
    limits = UploadLimits(max_megabytes)
    names = own_names(host) if allow_network else set()
    classifier = StudyClassifier(loaded, _device(device), BATCH_SIZE, engine=engine)
    with work_folder(UPLOADS) as folder:  # gone with the page, even in the middle of a request
        server = bind(
            make_app(classifier, loaded, limits, names, folder, choose_language(language)), host, port, limits
        )
        _run(server, host, loaded, open_page)
    say("stopped")


def _run(server: Any, host: str, loaded: Model, open_page: bool) -> None:  # noqa: ANN401
    warnings.simplefilter("ignore")  # pydicom's quote what stands in a header
    address = f"http://{f'[{host}]' if ':' in host else host}:{server.effective_port}"
    say(f"model {loaded.name}: {', '.join(loaded.record['classes'])}")
    say(f"open {address} in a browser; Ctrl-C ends. {NOTICE}")
    if open_page:
        show_page(address)
    server.run()  # ends by itself at Ctrl-C


def bind(app: Flask, host: str, port: int, limits: UploadLimits) -> Any:  # noqa: ANN401
    """Make a waitress server that listens, with `effective_port`, `run` and `close`.

    A request over the limit is refused at its first line, before any of its files is read. A connection that does not
    say within `HEADER_SECONDS` what it wants is closed, so that half-open ones keep nobody out.

    Raises:
        UserError: the address is in use or does not belong to this machine.
    """
    try:
        server = create_server(
            app,
            host=host,
            port=port,
            threads=THREADS,
            ident=None,
            connection_limit=CONNECTIONS,
            asyncore_use_poll=True,  # select ends at 1024 open files
            cleanup_interval=1,
            channel_timeout=IDLE_SECONDS,
            max_request_body_size=limits.megabytes * MEGABYTE + MARGIN,
        )
    except OSError as error:
        raise UserError(
            f"{host} port {port} cannot be used ({error.strerror or error}); type --port {port + 1} or another number."
        ) from error
    sockets = [server] if isinstance(server, BaseWSGIServer) else server.map.values()  # a name has several addresses
    listening = [each for each in sockets if isinstance(each, BaseWSGIServer)]
    for each in listening:
        each.channel_class = _channel(too_large(limits))
    server.effective_port = listening[0].effective_port
    return server


def _channel(sentence: str) -> type[Any]:
    """Connections that refuse a large request with a sentence of ours."""

    class TooLarge(RequestEntityTooLarge):  # type: ignore[misc]
        def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
            text = f"{sentence} {NOTICE}\n".encode()
            return f"{self.code} {self.reason}", [("Content-Type", "text/plain; charset=utf-8")], text

    class Parser(HTTPRequestParser):  # type: ignore[misc]
        error: Any = None

        def received(self, data: bytes) -> int:
            taken: int = super().received(data)
            if isinstance(self.error, RequestEntityTooLarge):
                self.error = TooLarge(self.error.body)
            return taken

    class Channel(HTTPChannel):  # type: ignore[misc]
        parser_class = Parser
        _heard = _waited_for = 0.0

        @property
        def last_activity(self) -> float:
            """When it did something, as the server's clean-up asks; bytes of an endless header are nothing."""
            if self.requests or self.total_outbufs_len or (self.request and self.request.headers_finished):
                return self._heard
            return self._waited_for + HEADER_SECONDS - IDLE_SECONDS

        @last_activity.setter
        def last_activity(self, now: float) -> None:
            self._heard = now
            if self.request is None or self.request.headers_finished:
                self._waited_for = now

    return Channel


def _check_host(host: str, allow_network: bool) -> None:
    if allow_network or host == "localhost":
        return
    try:
        if ipaddress.ip_address(host).is_loopback:
            return
    except ValueError:  # a name
        pass
    raise UserError(
        f"--host {host} can be reached by other machines: images of patients and their results would cross the network "
        "unencrypted, and anyone in it could use the page; leave --host out, or type --allow-network if that is "
        "permitted where you work."
    )


def own_names(host: str) -> set[str]:
    """Names of this machine in its network, which no other site can take, and what was typed as `--host`."""
    name, full = socket.gethostname(), socket.getfqdn()
    return {known.lower() for known in (host, name, full, full.split(".")[0], f"{name.split('.')[0]}.local")}


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"the device {name} cannot be used; type --device cpu or cuda:0.") from error
    return name
