"""Welcome: what was found, and the lines to paste so that each tool talks to this proxy."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget

from ccproxy_tui.core.control.frames import Status, Watch
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.base import BaseScreen
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.widgets.detail_view import DetailView, Line

TOKEN = "$CCPROXY_TOKEN"


def base_url(status: Status) -> str:
    host = "127.0.0.1" if status.host in ("0.0.0.0", "::", "") else status.host  # noqa: S104 - compared, not bound
    return f"http://[{host}]:{status.port}" if ":" in host else f"http://{host}:{status.port}"


def tool_lines(status: Status, prefix: str = "api") -> list[tuple[str, list[str]]]:
    """Tool -> the shell lines that point it here. The proxy's token stays in a variable, or in its file."""
    url = base_url(status)
    codex = {"name": "here", "base_url": f"{url}/{'codex' if prefix == 'api' else prefix}", "wire_api": "responses"}
    codex |= {"env_key": TOKEN[1:]} if status.auth_required else {}
    options = ["model_provider=here", *(f"model_providers.here.{name}={value}" for name, value in codex.items())]
    key = TOKEN if status.auth_required else "any-word"
    sent = f' -H "x-api-key: {TOKEN}"' if status.auth_required else ""
    token = f'export {TOKEN[1:]}="$(cat {shlex.quote(status.token_file)})"'
    return [
        *([("The token, in each shell", [token])] if status.token_file else []),
        ("Claude Code", [f"export ANTHROPIC_BASE_URL={url}/{prefix}", f"export ANTHROPIC_AUTH_TOKEN={key}"]),
        ("Codex", ["codex \\", *(f"  -c {one} \\" for one in options[:-1]), f"  -c {options[-1]}"]),
        ("aider", [f"export ANTHROPIC_API_BASE={url}/{prefix}", f"export ANTHROPIC_API_KEY={key}"]),
        ("Anthropic SDK", [f"export ANTHROPIC_BASE_URL={url}/{prefix}", f"export ANTHROPIC_API_KEY={key}"]),
        ("OpenAI SDK, opencode", [f"export OPENAI_BASE_URL={url}/{prefix}/v1", f"export OPENAI_API_KEY={key}"]),
        ("curl", [f"curl {url}/{prefix}/v1/messages -H 'content-type: application/json'{sent} -d @request.json"]),
    ]


class WelcomeScreen(BaseScreen):
    """Shown on the first run, and by `w`."""

    TAB = ""
    HELP = "Paste the lines of a tool into the shell where it runs. y copies all of them."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter", "app.pop_screen", "continue", id="welcome.close"),
        Binding("y", "copy", "copy the lines", id="welcome.copy"),
    ]

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="welcome-box", classes="box"):
            yield DetailView(id="welcome-text", empty="starting the proxy…")

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#welcome-box").border_title = "welcome to ccproxy-tui"
        self._fill()
        self.query_one(DetailView).focus()

    def watching(self) -> Watch:
        return Watch(rows=False)

    def take(self, changes: Changes) -> None:
        if changes.status or changes.reset:
            self._fill()

    def _fill(self) -> None:
        status = self.mirror.status
        if not self.mirror.connected:
            return
        prefix = "demo" if self.proxy_app.is_demo else "api"
        lines: list[Line] = [
            (f"The proxy listens at {base_url(status)}. Point a tool at it, and watch it here.", "strong"),
            ("", ""),
        ]
        for account in status.accounts:
            text = "  ".join(filter(None, (account.provider, account.label, account.state)))
            lines.append((escape_line(text), "" if account.ok else "error"))
            if account.hint:
                lines.append((f"  {escape_line(account.hint)}", "dim"))
        for tool, commands in tool_lines(status, prefix):
            lines += [("", ""), (tool, "strong"), *((f"  {command}", "") for command in commands)]
        lines += [("", ""), ("1 streams   ? help   ctrl+p commands   q quit", "dim")]
        self.query_one(DetailView).show_lines(lines)

    def action_copy(self) -> None:
        prefix = "demo" if self.proxy_app.is_demo else "api"
        blocks = [f"# {tool}\n" + "\n".join(commands) for tool, commands in tool_lines(self.mirror.status, prefix)]
        self.proxy_app.copy("\n\n".join(blocks) + "\n", "lines")

    def keys(self) -> Sequence[tuple[str, str]]:
        return (("enter", "continue"), ("y", "copy the lines"), ("j/k", "scroll"), ("?", "help"))
