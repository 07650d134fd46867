"""The words of the status bar, by width."""

from __future__ import annotations

from ccproxy_tui.core.control.frames import AccountView, Status, WindowView
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.session import State
from ccproxy_tui.screens.widgets.bars import Part

START_KEY = "ctrl+r"  # of a proxy that was stopped; on every screen
_BULLET = {
    "up": ("*", "ok"),
    "starting": ("o", "warning"),
    "silent": ("!", "error"),
    "lost": ("!", "error"),
    "stopped": ("o", "warning"),
    "failed": ("!", "error"),
}


def status_parts(status: Status, state: State, problem: str, width: int) -> tuple[list[Part], list[Part]]:
    """Left and right parts. What matters most stands first, so that a narrow bar cuts the rest."""
    mark, style = _BULLET[state]
    left: list[Part] = [(f" {mark} ", style)]
    if state != "up":
        words = {
            "starting": "starting the proxy",
            "silent": "no answer",
            "lost": f"proxy lost, trying again ({START_KEY} starts one)",
            "stopped": f"stopped, {START_KEY} starts it again",
            "failed": "the proxy can't start",
        }
        left.append((words[state], style))
        if problem:
            left.append((f": {escape_line(problem)}", "dim"))
        return left, []
    address = f"{status.host}:{status.port}" if width >= 72 else f":{status.port}"
    left.append((address, "strong"))
    if status.draining:
        left.append(("  stopping", "warning"))
    if width < 110:
        left.append((f"  {status.live} live", ""))
    for account in status.accounts:
        if account.provider != "demo" or len(status.accounts) == 1:
            left += [("  ", ""), _account(account)]
            left += [_window(window) for window in account.windows if width >= 72]
    if status.agents:
        left.append((f"  sdk {status.busy}/{status.agents}", "ok" if status.busy else "dim"))
    left += [(f"  {notices_words(status.notices)}", "warning")] if status.notices else []
    right: list[Part] = []
    if status.auth_required and width >= 72:
        right.append(("token ", "dim"))
    if width >= 110:
        right.append((f"v{status.version} ", "dim"))
    return left, right


def notices_words(notices: list[str]) -> str:
    """How many warnings the proxy has of its settings and its machine, and where they are."""
    return f"{len(notices)} warning{'s' * (len(notices) != 1)} (7 Logs)"


def account_state(account: AccountView) -> str:
    """The state of the login, or that its upstream does not answer, which makes the login beside the point."""
    if account.unreachable is not None:
        return f"unreachable since {words.clock(account.unreachable)}"
    return account.state


def _window(window: WindowView) -> Part:
    style = "error" if window.used >= 95 else "warning" if window.used >= 80 else "dim"
    return (f"  {escape_line(window.name)} {window.used}%", style)


def _account(account: AccountView) -> Part:
    if account.unreachable is not None:
        return (f"{account.provider} {account_state(account)}", "error")
    if account.ok:
        return (f"{account.provider} {escape_line(account.state)}", "ok")
    word = "LOGIN" if account.state == "missing" else account.state.partition(" (")[0]
    return (f"{account.provider} {escape_line(word)}", "warning")
