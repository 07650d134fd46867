"""A kept request as a command that sends it again through the proxy. Tokens stay in the environment."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

TOKEN_VARIABLE = "CCPROXY_TOKEN"
_KEPT = ("anthropic-beta", "anthropic-version", "content-type", "openai-beta", "session-id", "x-session-id")
_MARK = "CCPROXY_BODY"


def curl_command(url: str, headers: Iterable[tuple[str, str]], body: str, *, needs_token: bool, stream: bool) -> str:
    """A POSIX shell command. The body stands in a here-document, so no quoting can break it."""
    parts = ["curl", "-sS", *(["-N"] if stream else []), "-X", "POST", shlex.quote(url)]
    lines = [" ".join(parts)]
    lines += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in headers if name in _KEPT]
    if needs_token:
        lines.append(f'-H "authorization: Bearer ${TOKEN_VARIABLE}"')
    mark = _MARK
    while mark in body:
        mark += "_"
    lines.append(f"--data-binary @- <<'{mark}'")
    return " \\\n  ".join(lines) + f"\n{body}\n{mark}\n"
