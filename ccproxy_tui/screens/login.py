"""A login under way: the address to open, the code to type, a field for what the browser ends at."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from ccproxy_tui.core.control import Control, ControlError
from ccproxy_tui.core.escape import escape_line
from ccproxy_tui.core.frames import LoginView

POLL = 1.0


class LoginDialog(ModalScreen[str]):
    """Ends with what is to be said of it; empty when the person left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "cancel", id="login.cancel", show=False),
        Binding("ctrl+y", "copy", "copy the address", id="login.copy", priority=True),
    ]

    def __init__(self, control: Control, provider: str, view: LoginView) -> None:
        super().__init__()
        self._control = control
        self._provider = provider
        self._view = view

    def compose(self) -> ComposeResult:
        view = self._view
        with Vertical(classes="dialog wide-dialog"):
            yield Static(f"Log in to {self._provider}: open this address in a browser (ctrl+y copies it)", markup=False)
            yield Static(escape_line(view.url), markup=False, classes="dialog-text", id="login-url")
            if view.code:
                yield Static(f"and type the code {escape_line(view.code)}", markup=False, classes="dialog-text")
            else:
                yield Static(
                    f"On another machine: ssh -L {view.port}:127.0.0.1:{view.port}, or paste here the code or the "
                    "address that the browser ends at.",
                    markup=False,
                    classes="dialog-text",
                )
                yield Input(id="login-answer", placeholder="code, or http://localhost:…")
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
        self.app.copy_to_clipboard(self._view.url)

    async def action_leave(self) -> None:
        try:
            await self._control.cancel_login(self._provider)
        except ControlError:
            pass  # the proxy is gone, and the login with it
        self.dismiss("")
