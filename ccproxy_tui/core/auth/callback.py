"""Where a browser comes back to after a login: one page, on loopback, for as long as the login takes."""

from __future__ import annotations

import asyncio
from html import escape

PAGE = (
    '<!doctype html><meta charset="utf-8"><title>ccproxy-tui</title>'
    '<body style="font-family:sans-serif;margin:4em"><h1>{title}</h1><p>{text}</p>'
)
_HEAD_LIMIT = 16 * 1024


class CallbackServer:
    """`answer` is the URL that the browser asked for, once it did. Other paths get a 404."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._server: asyncio.Server | None = None

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
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
            target = head.split(b"\r\n", 1)[0].split(b" ")[1].decode("latin-1")
            status, page = self._page(target)
            body = page.encode()
            writer.write(
                f"HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n".encode()
                + body
            )
            await writer.drain()
        except (TimeoutError, OSError, IndexError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever that was, it was no browser with a code
        finally:
            writer.close()

    def _page(self, target: str) -> tuple[str, str]:
        if target.split("?")[0] != self._path:
            return "404 Not Found", PAGE.format(title="Nothing here", text=escape(target[:200]))
        if not self.answer.done():
            self.answer.set_result(f"http://localhost:{self._port}{target}")
        return "200 OK", PAGE.format(title="Done", text="You can close this page and go back to the terminal.")
