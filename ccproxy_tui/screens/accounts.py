"""Accounts: how each login is, when it ends, what happened to it; log in and renew from here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget

from ccproxy_tui.core.control.frames import AccountDetail, AccountView, Watch
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.base import NARROW, WIDE, BaseScreen
from ccproxy_tui.screens.confirm import Confirm
from ccproxy_tui.screens.login import LoginDialog
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.ui.status_line import account_state
from ccproxy_tui.screens.widgets.detail_view import DetailView, Line
from ccproxy_tui.screens.widgets.live_list import Column, LiveList

_COUNTS_DOWN = ("cooling", "plan used up")


class AccountsScreen(BaseScreen):
    """Read from the proxy when it opens, and whenever the status says that an account has changed."""

    READS = True
    TAB = "accounts"
    HELP = (
        "Each account with its plan, state and file. l logs in with a browser (over SSH: paste the address that the "
        "browser ends at), r renews the token now, t tests the account at no cost and reads its quota, b disables an "
        "account, or enables it and ends its cooldown, p stops it before paid use beyond its plan, o logs out. Tokens "
        "are renewed before they expire and after a refusal, once for all programs."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("l", "login", "log in", id="accounts.login"),
        Binding("r", "renew", "renew", id="accounts.renew"),
        Binding("t", "check", "test", id="accounts.check"),
        Binding("b", "aside", "disable or enable", id="accounts.aside"),
        Binding("p", "plan_only", "plan only", id="accounts.plan_only"),
        Binding("o", "log_out", "log out", id="accounts.logout"),
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
        self.set_interval(1.0, self._count_down)

    def _count_down(self) -> None:
        """Nothing moves when nothing happens; a cooldown that runs is something."""
        if self.is_current and any(one.view.state.startswith(_COUNTS_DOWN) for one in self._accounts.values()):
            self._reload()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._reload()

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._lay_out)

    def _lay_out(self) -> None:
        provider = Column[AccountDetail]("provider", "provider", 14, lambda one: one.view.provider)
        plan = Column[AccountDetail]("plan", "plan", 9, lambda one: one.view.label or "-")
        state = Column[AccountDetail]("state", "state", 26, lambda one: account_state(one.view), style=_style)
        source = Column[AccountDetail]("source", "from", 0, lambda one: one.source or one.view.hint)
        width = self.size.width
        columns = [provider, plan, state, source] if width >= WIDE else [provider, state, source]
        self.list.set_columns(columns if width >= NARROW else [provider, replace(state, width=0)])

    def watching(self) -> Watch:
        return Watch(rows=False)

    def take(self, changes: Changes) -> None:
        if changes.status or changes.reset:
            self._reload()

    def _reload(self) -> None:
        self.read_again(self._load)

    async def _load(self) -> None:
        details = await self.fetch(lambda: self.control.accounts())
        if details is None:
            return
        self._accounts.clear()
        self._accounts.update({detail.view.provider: detail for detail in details})
        self.list.rebuild()
        self._show_selected()

    def _show_selected(self) -> None:
        detail = self.list.selected
        if detail is not None:
            total = sum(one.served for one in self._accounts.values())
            self.query_one("#account", DetailView).show_lines(account_lines(detail, total))

    def on_live_list_moved(self, event: LiveList.Moved) -> None:
        self._show_selected()

    def on_live_list_opened(self, event: LiveList.Opened) -> None:
        self.action_login()

    def action_renew(self) -> None:
        self._do(self._renew)

    async def _renew(self, detail: AccountDetail) -> str:
        await self.control.renew_account(detail.view.provider)
        return "renewed"

    def action_check(self) -> None:
        self._do(self._check)

    async def _check(self, detail: AccountDetail) -> str:
        self.proxy_app.say(f"{detail.view.provider}: testing the account")
        return await self.control.check_account(detail.view.provider)

    def action_aside(self) -> None:
        self._do(self._set_aside)

    async def _set_aside(self, detail: AccountDetail) -> str:
        """An account that rests is woken; any other is set aside, or comes back from there."""
        aside = not detail.aside and not detail.view.state.startswith("cooling")
        await self.control.set_account_aside(detail.view.provider, aside=aside)
        return "disabled: gets no requests" if aside else "enabled"

    def action_plan_only(self) -> None:
        self._do(self._toggle_plan_only)

    async def _toggle_plan_only(self, detail: AccountDetail) -> str:
        name = detail.view.provider
        others = [one.view.provider for one in self._accounts.values() if one.plan_only and one.view.provider != name]
        chosen = others if detail.plan_only else [*others, name]
        effect = await self.control.change_setting("accounts.plan_only", ",".join(chosen) if chosen else None)
        said = (
            "paid use beyond the plan allowed"
            if detail.plan_only
            else "plan only: stops before paid use beyond the plan"
        )
        return f"{said}: {effect}"

    def action_log_out(self) -> None:
        self._do(self._log_out)

    async def _log_out(self, detail: AccountDetail) -> str:
        name = detail.view.provider
        question = f"Log out of {name}? This also logs out its command-line tool ({detail.source or 'no login'})."
        if not await self.app.push_screen_wait(Confirm(escape_line(question), "Log out")):
            return ""
        return f"logged out; credentials removed from {await self.control.log_out(name)}"

    def _do(self, verb: Callable[[AccountDetail], Awaitable[str]]) -> None:
        """One verb on the selected account, and what came of it in words."""
        if (detail := self.list.selected) is not None:
            self.carry_out(detail.view.provider, partial(verb, detail))

    async def carried_out(self) -> None:
        await self._load()

    def action_login(self) -> None:
        self._do(self._log_in)

    async def _log_in(self, detail: AccountDetail) -> str:
        name = detail.view.provider
        view = await self.control.start_login(name)
        return await self.app.push_screen_wait(LoginDialog(self.control, name, view, self.proxy_app.copy)) or ""

    def keys(self) -> Sequence[tuple[str, str]]:
        return (
            ("?", "help"),
            ("l", "log in"),
            ("r", "renew"),
            ("t", "test"),
            ("b", "disable"),
            ("p", "plan only"),
            ("o", "log out"),
            ("q", "quit"),
        )


_EXTRA = {
    "off": "extra usage (paid beyond the plan): off",
    "possible": "extra usage (paid beyond the plan): on",
    "paid": "extra usage (paid beyond the plan): in use",
}


def _serves(view: AccountView) -> bool:
    return view.ok and view.unreachable is None


def _style(detail: AccountDetail) -> str:
    return "live" if _serves(detail.view) else "error"


def account_lines(detail: AccountDetail, served: int) -> list[Line]:
    """One account in words: what it is, what is wrong, what happened. `served` is what all of them served."""
    view = detail.view
    title = "  ".join(filter(None, (view.provider, view.label, account_state(view))))
    lines: list[Line] = [(escape_line(title), "strong" if _serves(view) else "error")]
    if view.hint:
        lines.append((escape_line(view.hint), ""))
    if detail.source:
        lines.append((escape_line(f"from {detail.source}"), "dim"))
    times = [f"token expires {words.moment(detail.expires)}"] if detail.expires else []
    times += ["auto-renewed"] if detail.renews and detail.source else []
    times += [f"used {words.moment(detail.last_used)}"] if detail.last_used else []
    if detail.served:
        times.append(f"{detail.served} requests ({detail.served / max(served, detail.served):.0%})")
    if times:
        lines.append((", ".join(times), "dim"))
    for window in view.windows:
        ends = f"  resets {words.moment(window.resets)}" if window.resets else ""
        fills = f"  full {words.moment(window.fills)}" if window.fills else ""
        text = f"{window.name:<8} {words.gauge(window.used)} {window.used:3d}%{ends}{fills}"
        lines.append((escape_line(text), "error" if window.used >= 90 else ""))
    if paid := "; ".join(filter(None, (_EXTRA.get(detail.extra), "plan only" if detail.plan_only else ""))):
        lines.append((paid, "error" if detail.extra == "paid" else "dim"))
    if detail.warning:
        lines.append((escape_line(detail.warning), "error"))
    if detail.problem:
        lines.append((escape_line(f"last problem: {detail.problem}"), "error"))
    lines += [(escape_line(f"{words.moment(at)}  {text}"), "") for at, text in reversed(detail.history)]
    return lines
