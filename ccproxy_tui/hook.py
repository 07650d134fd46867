"""`hook`: a tool's hook command. It starts with each tool that an agent runs, so it does without click and httpx."""

from __future__ import annotations

import json
import sys

SOURCES = ("claude-code", "codex")


def run_hook(source: str) -> None:
    """Hand the event on standard input to the proxy, as it is, and print its answer.

    Without a proxy that proves to be ours, nothing is printed: no opinion, the tool asks in its own terminal.
    """
    from ccproxy_tui.core.control.asking import NotAsked, ask
    from ccproxy_tui.core.system.paths import NotOurs, Paths

    try:
        answer = ask(Paths.of_user(), f"/hooks/{source}", sys.stdin.buffer.read())
    except (NotAsked, NotOurs):
        return
    if answer:
        print(json.dumps(answer))  # noqa: T201 - the tool reads it
