"""`y`: what to copy of an exchange. One key each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, cast

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static
from textual.worker import Worker

from ccproxy_tui.core.control.frames import Detail, Watch
from ccproxy_tui.core.control.protocol import ControlError
from ccproxy_tui.core.system.ids import short_id
from ccproxy_tui.core.text.curl import curl_command
from ccproxy_tui.screens.ui.text_model import TextModel

if TYPE_CHECKING:
    from ccproxy_tui.app import CCProxyApp

_CHOICES = (
    ("i", "id"),
    ("t", "text"),
    ("q", "request"),
    ("r", "response"),
    ("c", "curl"),
    ("e", "error"),
)


class CopyMenu(ModalScreen[None]):
    """Gets what was asked for from the proxy and hands it to the clipboard, secrets masked."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(key, f"copy('{what}')", what, id=f"copy.{what}", show=False) for key, what in _CHOICES),
        Binding("escape,y", "dismiss", "close", id="copy.close", show=False),
    ]

    def __init__(self, exchange: str) -> None:
        super().__init__()
        self._exchange = exchange

    def compose(self) -> ComposeResult:
        lines = [
            f"copy of {short_id(self._exchange)}",
            "",
            *(f" {key}  {what}" for key, what in _CHOICES),
            "",
            "esc closes",
        ]
        with Vertical(classes="dialog menu"):
            yield Static("\n".join(lines), markup=False)

    def action_copy(self, what: str) -> None:
        app = cast("CCProxyApp", self.app)
        self.dismiss()
        worker: Worker[None] = app.run_worker(partial(_copy, app, self._exchange, what))
        worker.name = f"copy {what}"


async def _copy(app: CCProxyApp, exchange: str, what: str) -> None:
    try:
        text = await _fetch(app, exchange, what)
    except ControlError as error:
        app.say(str(error), "error")
        return
    if not text:
        app.say(f"No {what} to copy", "warning")
        return
    app.copy(text, what)


async def _fetch(app: CCProxyApp, exchange: str, what: str) -> str:
    control = app.session.control
    match what:
        case "id":
            return exchange
        case "request":
            return _pretty(await control.body(exchange, "request"))
        case "response":
            return _pretty(await control.body(exchange, "response"))
        case "error":
            return (await control.detail(exchange)).row.error
        case "curl":
            return _curl(app, await control.detail(exchange), await control.body(exchange, "request"))
        case _:
            return await _text(app, exchange)


def _pretty(body: bytes) -> str:
    try:
        return msgspec.json.format(body, indent=2).decode("utf-8", "replace")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode("utf-8", "replace")


def _curl(app: CCProxyApp, detail: Detail, body: bytes) -> str:
    status = app.session.mirror.status
    query = f"?{detail.query}" if detail.query else ""
    return curl_command(
        f"http://{status.host}:{status.port}{detail.path}{query}",
        detail.request_headers,
        body.decode("utf-8", "replace"),
        needs_token=status.auth_required,
        stream=detail.row.stream,
    )


async def _text(app: CCProxyApp, exchange: str) -> str:
    """The answer's text, read over a connection of its own: no screen may be showing it now."""
    model = TextModel(10_000)
    control = await app.session.source.connect()
    try:
        async for frame in control.frames(Watch(rows=False, texts=[exchange], hz=30)):
            for text in frame.texts:
                model.append(text.segments)
                if text.ended or not text.segments:
                    return model.plain
            if not frame.texts:
                return model.plain
    finally:
        await control.close()
    return model.plain
