"""Where a browser comes back to after a login: one page, on loopback, for as long as the login takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from html import escape

PAGE = (
    '<!doctype html><meta charset="utf-8"><title>ccproxy-tui</title>'
    '<body style="font-family:sans-serif;margin:4em"><h1>{title}</h1><p>{text}</p>'
)
WAITS = "This answer belongs to another login. The one in the terminal still waits for its own."
_HEAD_LIMIT = 16 * 1024
_OPEN = 32  # connections at the same time; the oldest one makes room


class CallbackServer:
    """`answer` is the URL that the browser asked for, once it did and `belongs` took it.

    Everything else gets a page that says so and changes nothing: other paths, answers to other logins, and requests
    that are no visit of a browser to this very address, such as an image on some web page.
    """

    def __init__(self, port: int, path: str, belongs: Callable[[str], bool]) -> None:
        self._port = port
        self._path = path
        self._belongs = belongs
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, None] = {}

    async def start(self) -> bool:
        """Whether the port could be had. Without it, the URL can still be pasted."""
        try:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port, limit=_HEAD_LIMIT)
        except OSError:
            return False
        return True

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._open):
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = None
        if len(self._open) > _OPEN:
            next(iter(self._open)).transport.abort()
        try:
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
            status, page = self._page(head.decode("latin-1"))
            body = page.encode()
            writer.write(
                f"HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {len(body)}\r\n"
                "cache-control: no-store\r\nreferrer-policy: no-referrer\r\nconnection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever that was, it was no browser with a code
        finally:
            self._open.pop(writer, None)
            writer.close()

    def _page(self, head: str) -> tuple[str, str]:
        """Status and page for a request head. Raises ValueError when it is none."""
        request, *lines = head.split("\r\n")
        method, target, _ = request.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        if target.split("?")[0] != self._path:
            return "404 Not Found", PAGE.format(title="Nothing here", text=escape(target.split("?")[0][:200]))
        url = f"http://localhost:{self._port}{target}"
        if method != "GET" or not self._is_visit(headers) or not self._belongs(url):
            return "400 Bad Request", PAGE.format(title="Not this login", text=WAITS)
        if not self.answer.done():
            self.answer.set_result(url)
        return "200 OK", PAGE.format(title="Done", text="You can close this page and go back to the terminal.")

    def _is_visit(self, headers: dict[str, str]) -> bool:
        """Whether a browser's window came here: by this machine's name, and not for a part of a page."""
        host = headers.get("host", "").lower()
        own = {f"{name}:{self._port}" for name in ("localhost", "127.0.0.1")}
        return host in own and is_visit(headers)


def is_visit(headers: dict[str, str]) -> bool:
    """Whether a request can be a window's way to a page (https://www.w3.org/TR/fetch-metadata/), and no page's own."""
    return (
        "origin" not in headers
        and headers.get("sec-fetch-mode", "navigate") == "navigate"
        and headers.get("sec-fetch-dest", "document") == "document"
    )
