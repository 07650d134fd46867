"""Which Claude Code runs, whether it can be used, and the environment that it gets."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ccproxy_tui import __version__
from ccproxy_tui.core.detection.capture import CaptureFailed, run_bounded
from ccproxy_tui.core.settings import Settings
from ccproxy_tui.core.settings.seeds import MOVED, RETIRED
from ccproxy_tui.core.system.ancestry import AGENT_MARK
from ccproxy_tui.core.system.processes import find_program
from ccproxy_tui.core.text.redact import is_secret_name, mask_own_text

ADD_SDK = "pip install 'ccproxy-tui[sdk]'"
# Older ones take a request's text for a command when it begins with a slash.
_LEAST = (2, 1, 248)
_SNAPSHOTS = (2, 1, 330)  # from here on a system prompt is kept from the first turn on, unless told otherwise
_VERSION = re.compile(rb"(\d+)\.(\d+)\.(\d+)")
_VERSION_SECONDS = 10.0
# Of our own settings (in the older programs' spellings, too) and of an agent that we run in ourselves: nothing that an
# agent needs, or may know. Names of settings count in any case.
_SECTIONS = "|".join({*Settings.model_fields, *(path[0] for path in (*MOVED, *RETIRED))})
_OURS = re.compile(
    rf"CCPROXY_|CONFIG_(FILE|OVERRIDES)$|CLAUDECODE$|CLAUDE_CODE_(ENTRYPOINT|SSE_PORT)$|({_SECTIONS})__", re.IGNORECASE
)
# What Claude Code itself logs in with, and names of files, sockets and proxies, which are no secrets by themselves.
_LOGIN = re.compile(r"ANTHROPIC_(API_KEY|AUTH_TOKEN|CUSTOM_HEADERS)$|CLAUDE_CODE_OAUTH_TOKEN$")
_NEEDED = re.compile(rf"{_LOGIN.pattern}|.*_(FILE|PATH|DIR|HOME|SOCK|PROXY|URL)$", re.IGNORECASE)
_CLOUDS = {"CLAUDE_CODE_USE_BEDROCK": "AWS_", "CLAUDE_CODE_USE_VERTEX": "GOOGLE_", "CLAUDE_CODE_USE_FOUNDRY": "AZURE_"}


class CliUnusable(Exception):
    """No Claude Code, or none that can be used. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Cli:
    path: str
    version: tuple[int, ...]

    @property
    def arguments(self) -> list[str]:
        return ["--system-prompt-snapshot=off"] if self.version >= _SNAPSHOTS else []


def has_sdk() -> bool:
    return importlib.util.find_spec("claude_agent_sdk") is not None


async def find_cli(chosen: Path | None, environ: Mapping[str, str]) -> Cli:
    """The one of the settings, the one that comes with the SDK, or the one on the PATH. Raises CliUnusable."""
    if not has_sdk():
        raise CliUnusable(f"SDK mode is not installed: {ADD_SDK} adds it.")
    path = str(chosen) if chosen is not None else _bundled() or find_program("claude", environ.get("PATH"))
    if path is None:
        raise CliUnusable("Claude Code is not installed: npm install -g @anthropic-ai/claude-code")
    version = await _version_of(path, environ)
    if version < _LEAST:
        words = ".".join(map(str, version))
        raise CliUnusable(f"{path} is Claude Code {words}; SDK mode needs {'.'.join(map(str, _LEAST))} or newer.")
    return Cli(path, version)


def _bundled() -> str | None:
    spec = importlib.util.find_spec("claude_agent_sdk")
    path = Path(spec.origin).parent / "_bundled" / "claude" if spec is not None and spec.origin else None
    return str(path) if path is not None and os.access(path, os.X_OK) else None


async def _version_of(path: str, environ: Mapping[str, str]) -> tuple[int, ...]:
    """As the file beside a bundled one tells it, or as it tells itself."""
    told = Path(path).with_name("claude.version")
    try:
        words = await asyncio.to_thread(told.read_bytes) if told.exists() else await _ask_version(path, environ)
    except (OSError, CaptureFailed) as error:
        raise CliUnusable(f"{path} can't be run: {error}.") from error
    match = _VERSION.search(words)
    if match is None:
        raise CliUnusable(f"{path} tells no version: it is no Claude Code.")
    return tuple(int(part) for part in match.groups())


async def _ask_version(path: str, environ: Mapping[str, str]) -> bytes:
    return await run_bounded([path, "--version"], environ, Path.cwd(), _VERSION_SECONDS)


def agent_environ(
    environ: Mapping[str, str], more: Mapping[str, str], url: str, keep: Iterable[str] = ()
) -> dict[str, str]:
    """Return what an agent's process gets: no settings and no credentials of ours, and no keys that are not for it.

    `keep` names variables that it gets all the same. A base URL that leads back into SDK mode would make agents of
    agents.
    """
    kept = frozenset(keep)
    clouds = tuple(prefix for name, prefix in _CLOUDS.items() if environ.get(name, "0") not in ("", "0", "false"))
    own = {
        name: value
        for name, value in environ.items()
        if name in kept or not (_OURS.match(name) or _is_key(name, value, clouds))
    }
    base = own.get("ANTHROPIC_BASE_URL", "")
    if base.startswith(url) and "/sdk" in base:
        del own["ANTHROPIC_BASE_URL"]
    own |= {"CLAUDE_CODE_ENTRYPOINT": "sdk-py", "CLAUDE_AGENT_SDK_CLIENT_APP": f"ccproxy-tui/{__version__}"}
    own[AGENT_MARK] = "1"  # its programs inherit it: see core.system.ancestry
    made = {**own, **more}
    if not os.path.isabs(made.get("CLAUDE_CONFIG_DIR", "/")):  # noqa: PTH117 - the text as Claude Code reads it
        del made["CLAUDE_CONFIG_DIR"]  # it would be a folder of the project, with settings as if they were your own
    return made


def _is_key(name: str, value: str, clouds: tuple[str, ...]) -> bool:
    """Whether a variable holds a credential that Claude Code itself does not need."""
    if _NEEDED.match(name) is None and not name.startswith(clouds) and is_secret_name(name):
        return True
    return _LOGIN.match(name) is None and mask_own_text(value) != value


def forget_transcript(environ: Mapping[str, str], name: str) -> None:
    """Take a conversation out of what Claude Code keeps. One that is not there is no error."""
    if (path := transcript_of(environ, name)) is not None:
        path.unlink(missing_ok=True)


def transcript_of(environ: Mapping[str, str], name: str) -> Path | None:
    """Where Claude Code keeps the conversation of that id, if it does."""
    home = Path(environ.get("CLAUDE_CONFIG_DIR") or Path(environ.get("HOME") or Path.home()) / ".claude")
    return next(iter((home / "projects").glob(f"*/{name}.jsonl")), None)
