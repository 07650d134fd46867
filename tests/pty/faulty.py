"""The real program with faults: each function of PLACES raises once when the file of the environment names it."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

ARMED = "CCPROXY_TEST_FAULT"
SECRET = "sk-ant-oat01-super-secret-0123456789"

# Name -> what raises, and the keys that lead there.
PLACES: dict[str, tuple[str, str]] = {
    "an action": ("ccproxy_tui.screens.streams:StreamsScreen.action_sort", "s"),
    "an action of the app": ("ccproxy_tui.app:CCProxyApp.action_help", "?"),
    "a timer": ("ccproxy_tui.screens.base:BaseScreen._count_down_asks", ""),
    "a line that is painted": ("ccproxy_tui.screens.widgets.live_list:LiveList.render_line", "jk"),
    "the status bar": ("ccproxy_tui.screens.widgets.bars:StatusBar.say", "3"),
    "composing": ("ccproxy_tui.screens.pool:PoolScreen.compose_body", "4"),
    "mounting": ("ccproxy_tui.screens.logs:LogsScreen.on_mount", "7"),
    "a worker": ("ccproxy_tui.screens.settings:SettingsScreen._load", "8"),
    "changes": ("ccproxy_tui.screens.streams:StreamsScreen.take", "81"),
    "a key line": ("ccproxy_tui.screens.streams:StreamsScreen.keys", "j"),
    "a dialog": ("ccproxy_tui.screens.help:HelpScreen._fill", "?"),
    "composing a dialog": ("ccproxy_tui.screens.confirm:QuitDialog.compose", "q"),
    "the inspector": ("ccproxy_tui.screens.inspector:InspectorScreen.action_open", "\r"),
    "the inspector's text": ("ccproxy_tui.screens.widgets.stream_text:StreamText.follow", "\r4"),
    "the split view": ("ccproxy_tui.screens.split:SplitScreen.on_mount", "v"),
    "layout": ("ccproxy_tui.screens.split:SplitScreen._lay_out", "v"),
    "the mirror": ("ccproxy_tui.screens.ui.mirror:Mirror.apply", ""),
    "the title": ("ccproxy_tui.app:CCProxyApp._set_title", ""),
    "the keyboard": ("ccproxy_tui.screens.ui.keyboard:Keyboard._passed", "j"),
    "an event of the app": ("ccproxy_tui.app:CCProxyApp.on_app_focus", "\x1b[I"),
    "input": ("textual._xterm_parser:XTermParser.feed", "j"),
}


def main() -> None:
    if os.environ.get("CCPROXY_TEST_PATIENCE"):
        importlib.import_module("ccproxy_tui.screens.fault").SECONDS = 0.0  # type: ignore[attr-defined]
    for name, (place, _) in PLACES.items():
        module, _, path = place.partition(":")
        owner, method = path.split(".")
        kind = getattr(importlib.import_module(module), owner)
        setattr(kind, method, _breaking(name, getattr(kind, method)))
    from ccproxy_tui.__main__ import main as run

    sys.argv[0] = "ccproxy-tui"
    run()


def _breaking(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
    armed = Path(os.environ[ARMED])

    @wraps(work)
    def call(*args: Any, **options: Any) -> Any:
        if armed.exists() and (text := armed.read_text()).startswith(name + ":"):
            if not text.endswith(":always"):
                armed.unlink(missing_ok=True)
            raise RuntimeError(f"broken by the test in {name} with {SECRET}")
        return work(*args, **options)

    return call


if __name__ == "__main__":
    main()
