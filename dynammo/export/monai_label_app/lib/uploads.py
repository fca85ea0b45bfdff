"""Refuses what a server on one machine has no use for: large uploads, and requests that other web sites make."""

import json
import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextlib import suppress
from typing import Any

__all__ = ["Guard"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
MEGABYTE = 10**6
SAFE = ("", "none", "same-origin")  # values of Sec-Fetch-Site that no other site can cause


class TooLarge(Exception):
    """More came than the limit."""


class Guard:
    """ASGI middleware in front of MONAI Label.

    Args:
        app: what answers the requests that are let through.
        megabytes: the most that a request may carry, 10**6 bytes each.
        hosts: names that a request may call the server by, without port; empty for any: the server is on a network.
        origins: web sites beside the server itself whose requests are let through.
    """

    def __init__(self, app: App, megabytes: int, hosts: Collection[str], origins: Collection[str]) -> None:
        self._app, self._limit = app, megabytes * MEGABYTE
        self._hosts, self._origins = {host.lower() for host in hosts}, set(origins)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer 403 or 413, or let the request through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if not self._is_ours(headers):
            await _refuse(send, 403, "this server answers only to its own address, not to other web sites.")
            return
        await self._limited(scope, headers.get("content-length", "0"), receive, send)

    def _is_ours(self, headers: dict[str, str]) -> bool:
        called = headers.get("host", "").lower()
        host, origin = re.sub(r":\d+$", "", called), headers.get("origin", "")
        if self._hosts and host not in self._hosts:
            return False
        if not origin:
            return headers.get("sec-fetch-site", "") in SAFE
        of_server = not self._hosts and called and origin.lower() in (f"http://{called}", f"https://{called}")
        return bool(of_server) or origin in self._origins

    async def _limited(self, scope: Message, declared: str, receive: Receive, send: Send) -> None:
        """Let a request through up to the limit; one that is larger gets our answer, whatever the app says to it."""
        came, started = 0, False

        async def count() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._limit:
                raise TooLarge
            return message

        async def pass_on(message: Message) -> None:
            nonlocal started
            if came <= self._limit:
                started = True
                await send(message)

        if declared.isdecimal() and int(declared) > self._limit:
            came = int(declared)
        else:
            with suppress(TooLarge):
                await self._app(scope, count, pass_on)
        if came > self._limit and not started:
            sentence = f"the upload is larger than {self._limit // MEGABYTE} MB; send fewer or smaller images."
            await _refuse(send, 413, sentence)


async def _refuse(send: Send, status: int, sentence: str) -> None:
    body = json.dumps({"detail": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]})
    await send({"type": "http.response.body", "body": body})
