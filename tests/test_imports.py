"""What a process loads: `serve` and the core never see Textual, and slow packages come only when they are used."""

from __future__ import annotations

import subprocess
import sys

import pytest

EVERY_MODULE = """import pkgutil, importlib, {0} as package
for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):
    if module.name != 'ccproxy_tui.providers.claude_sdk.agent':  # imported for the first agent
        importlib.import_module(module.name)"""
HEAVY = {"duckdb", "authlib", "claude_agent_sdk", "claude_code_sdk", "mcp", "textual"}


def loaded_by(code: str) -> set[str]:
    """The top-level packages that are loaded after `code` ran in a fresh interpreter."""
    script = f"{code}\nimport sys\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import ccproxy_tui.cli.serve, ccproxy_tui.core.server.serve, ccproxy_tui.providers.registry",
        "import ccproxy_tui.core.control.client, ccproxy_tui.core.hosting",
        EVERY_MODULE.format("ccproxy_tui.core"),
        EVERY_MODULE.format("ccproxy_tui.providers"),
    ],
)
def test_the_proxy_loads_no_screen_and_nothing_slow(code: str) -> None:
    assert loaded_by(code) & HEAVY == set()


def test_the_command_line_itself_loads_next_to_nothing() -> None:
    loaded = loaded_by("import ccproxy_tui.__main__, ccproxy_tui.cli")
    assert loaded & (HEAVY | {"pydantic", "httpx", "uvicorn", "starlette", "asyncio"}) == set()


def test_the_screens_do_not_load_the_server_nor_httpx_before_they_paint() -> None:
    loaded = loaded_by("import ccproxy_tui.app, ccproxy_tui.cli.host")
    assert loaded & (HEAVY - {"textual"} | {"uvicorn", "starlette", "httpx"}) == set()


def test_the_formats_can_be_used_alone() -> None:
    loaded = loaded_by("import ccproxy_tui.core.formats")
    assert loaded & (HEAVY | {"pydantic", "httpx", "uvicorn", "starlette", "asyncio"}) == set()
