"""A login under way: the address to open, the code to type, a field for what the browser ends at."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from ccproxy_tui.core.control.frames import LoginView
from ccproxy_tui.core.control.protocol import Control, ControlError
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.core.text.qr import qr_lines

POLL = 1.0


class QrScreen(ModalScreen[None]):
    """An address for a phone; or how large the terminal must be for it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,enter,q,ctrl+r", "dismiss", show=False, id="qr.close")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._lines = qr_lines(text)

    def compose(self) -> ComposeResult:
        yield Static("", id="qr", markup=False)

    def on_resize(self) -> None:
        width, height = len(self._lines[0]), len(self._lines)
        fits = self.size.width >= width and self.size.height >= height
        shown = "\n".join(self._lines) if fits else f"This QR code needs a terminal of {width} by {height}. esc closes"
        self.query_one("#qr", Static).update(shown)


class LoginDialog(ModalScreen[str]):
    """Ends with what is to be said of it; empty when the person left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "cancel", id="login.cancel", show=False),
        Binding("ctrl+y", "copy", "copy the address", id="login.copy", priority=True),
        Binding("ctrl+r", "show_qr", "QR code", id="login.qr", priority=True),
    ]

    def __init__(self, control: Control, provider: str, view: LoginView, copy: Callable[[str, str], None]) -> None:
        """`copy` takes a text and its name to the clipboard."""
        super().__init__()
        self._copy = copy
        self._control = control
        self._provider = provider
        self._view = view

    def compose(self) -> ComposeResult:
        view = self._view
        with Vertical(classes="dialog wide-dialog"):
            title = f"Log in to {self._provider}: open this address (ctrl+y copies it, ctrl+r is a QR code)"
            yield Static(title, markup=False)
            yield Static(escape_line(view.url), markup=False, classes="dialog-text", id="login-url")
            if view.code:
                yield Static(f"and type the code {escape_line(view.code)}", markup=False, classes="dialog-text")
            else:
                yield Static(
                    f"On another machine: ssh -L {view.port}:127.0.0.1:{view.port}, or paste the code here, or the "
                    "address that the browser ends at.",
                    markup=False,
                    classes="dialog-text",
                )
                yield Input(id="login-answer", placeholder="code, or http://localhost:…", compact=True)
            yield Static("waiting for the login… esc cancels", markup=False, classes="dialog-hint", id="login-state")

    def on_mount(self) -> None:
        if not self._view.code:
            self.query_one(Input).focus()
        self.set_interval(POLL, self._poll)

    async def _poll(self) -> None:
        try:
            details = await self._control.accounts()
        except ControlError as error:
            self.dismiss(str(error))
            return
        login = next((one.login for one in details if one.view.provider == self._provider), None)
        if login is not None and login.state != "waiting":
            self.dismiss(login.message)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        if not event.value.strip():
            return
        try:
            await self._control.answer_login(self._provider, event.value)
        except ControlError as error:
            self.query_one("#login-state", Static).update(escape_line(str(error)))

    def action_copy(self) -> None:
        self._copy(self._view.url, "address")

    def action_show_qr(self) -> None:
        self.app.push_screen(QrScreen(self._view.url))

    async def action_leave(self) -> None:
        try:
            await self._control.cancel_login(self._provider)
        except ControlError:
            pass  # the proxy is gone, and the login with it
        self.dismiss("")
