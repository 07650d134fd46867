"""Accounts: how each login is, when it ends, what happened to it; log in and renew from here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget

from ccproxy_tui.core.control import ControlError
from ccproxy_tui.core.escape import escape_line
from ccproxy_tui.core.frames import AccountDetail, Watch
from ccproxy_tui.screens.base import NARROW, WIDE, BaseScreen
from ccproxy_tui.screens.login import LoginDialog
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.widgets.detail_view import DetailView, Line
from ccproxy_tui.screens.widgets.live_list import Column, LiveList


class AccountsScreen(BaseScreen):
    """Read from the proxy when it opens, and whenever the status says that an account has changed."""

    TAB = "accounts"
    HELP = (
        "Each login with its plan, state and file. l logs in by a browser (over SSH: paste the address that it ends "
        "at), r renews the token now. Tokens are renewed ahead of their end and after a refusal, once for all programs."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "login", "log in", id="accounts.login"),
        Binding("r", "renew", "renew", id="accounts.renew"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._accounts: dict[str, AccountDetail] = {}

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="accounts-box", classes="box"):
            yield LiveList[AccountDetail]([], id="accounts-list", empty=("", "no provider has an account"))
        with Vertical(id="account-box", classes="box"):
            yield DetailView(id="account", empty="")

    @property
    def list(self) -> LiveList[AccountDetail]:
        return self.query_one("#accounts-list", LiveList)

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#accounts-box").border_title = "accounts"
        self._lay_out()
        self.list.set_items(self._accounts)
        self.list.set_order(lambda detail: detail.view.provider, reverse=False, keep=lambda _: True)
        self.list.focus()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._reload()

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._lay_out)

    def _lay_out(self) -> None:
        provider = Column[AccountDetail]("provider", "provider", 14, lambda one: one.view.provider)
        plan = Column[AccountDetail]("plan", "plan", 9, lambda one: one.view.label or "-")
        state = Column[AccountDetail](
            "state", "state", 26, lambda one: one.view.state, style=lambda one: "live" if one.view.ok else "error"
        )
        source = Column[AccountDetail]("source", "from", 0, lambda one: one.source or one.view.hint)
        width = self.size.width
        columns = [provider, plan, state, source] if width >= WIDE else [provider, state, source]
        self.list.set_columns(columns if width >= NARROW else [provider, state])

    def watching(self) -> Watch:
        return Watch(rows=False)

    def take(self, changes: Changes) -> None:
        if changes.status or changes.reset:
            self._reload()

    def _reload(self) -> None:
        self.background(self._load, group="accounts")

    async def _load(self) -> None:
        try:
            details = await self.control.accounts()
        except ControlError as error:
            self.proxy_app.say(str(error), "error")
            return
        self._accounts.clear()
        self._accounts.update({detail.view.provider: detail for detail in details})
        self.list.rebuild()
        self._show_selected()

    def _show_selected(self) -> None:
        detail = self.list.selected
        if detail is not None:
            self.query_one("#account", DetailView).show_lines(account_lines(detail))

    def on_live_list_moved(self, event: LiveList.Moved) -> None:
        self._show_selected()

    def on_live_list_opened(self, event: LiveList.Opened) -> None:
        self.action_login()

    def action_renew(self) -> None:
        detail = self.list.selected
        if detail is not None:
            self.background(partial(self._renew, detail.view.provider))

    async def _renew(self, provider: str) -> None:
        try:
            await self.control.renew_account(provider)
            self.proxy_app.say(f"{provider}: renewed")
        except ControlError as error:
            self.proxy_app.say(str(error), "error")
        await self._load()

    def action_login(self) -> None:
        detail = self.list.selected
        if detail is not None:
            self.background(partial(self._log_in, detail.view.provider))

    async def _log_in(self, provider: str) -> None:
        try:
            view = await self.control.start_login(provider)
        except ControlError as error:
            self.proxy_app.say(str(error), "error")
            return
        message = await self.app.push_screen_wait(LoginDialog(self.control, provider, view))
        if message:
            self.proxy_app.say(f"{provider}: {message}")
        await self._load()

    def keys(self) -> Sequence[tuple[str, str]]:
        return (("?", "help"), ("l", "log in"), ("r", "renew"), ("w", "connect a tool"), ("q", "quit"))


def account_lines(detail: AccountDetail) -> list[Line]:
    """One account in words: what it is, what is wrong, what happened."""
    view = detail.view
    title = f"{view.provider}  {view.label}  {view.state}"
    lines: list[Line] = [(escape_line(title), "strong" if view.ok else "error")]
    if view.hint:
        lines.append((escape_line(view.hint), ""))
    if detail.source:
        lines.append((escape_line(f"from {detail.source}"), "dim"))
    times = [f"ends {words.moment(detail.expires)}"] if detail.expires else []
    times += [f"last used {words.moment(detail.last_used)}"] if detail.last_used else []
    times += ["renews itself"] if detail.renews and detail.source else []
    if times:
        lines.append((", ".join(times), "dim"))
    for window in view.windows:
        ends = f"  anew {words.moment(window.resets)}" if window.resets else ""
        fills = f"  full {words.moment(window.fills)}" if window.fills else ""
        text = f"{window.name:<8} {words.gauge(window.used)} {window.used:3d}%{ends}{fills}"
        lines.append((escape_line(text), "error" if window.used >= 90 else ""))
    if detail.problem:
        lines.append((escape_line(f"last problem: {detail.problem}"), "error"))
    lines += [(escape_line(f"{words.moment(at)}  {text}"), "") for at, text in reversed(detail.history)]
    return lines
