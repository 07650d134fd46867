"""`codex`: what the installed Codex sends, how its instructions are used, and a test."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ccproxy_tui.cli.errors import FAILURE, USAGE, Failure, explain
from ccproxy_tui.cli.options import load_settings
from ccproxy_tui.core.text.escape import escape_block, escape_line
from ccproxy_tui.core.text.redact import redact_text

if TYPE_CHECKING:
    from ccproxy_tui.core.control.frames import CodexView
    from ccproxy_tui.core.detection import Detector
    from ccproxy_tui.core.settings import Loaded

_PREVIEW = 200  # characters of the instructions that `cache` prints
_TEST_SECONDS = 60.0


@click.group()
def codex() -> None:
    """The Codex backend: captured headers and instructions, settings, models, a test."""


@codex.command("info")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@explain
def info(ctx: click.Context, /, as_json: bool) -> None:
    """Print the settings, what was captured, and the models with their limits."""
    loaded = _load(ctx)
    settings = {name: getattr(loaded.settings.codex, name) for name in type(loaded.settings.codex).model_fields}
    view = _detector(loaded).view()
    described = _describe(loaded)
    if as_json:
        models = [msgspec.to_builtins(one) for one in described.models]
        shown = {"settings": settings, "captured": msgspec.to_builtins(view), "models": models}
        click.echo(json.dumps({**shown, "models_from": described.models_from}, indent=2, default=str))
        return
    for name, value in settings.items():
        click.echo(escape_line(f"{name:<30} {value}"))
    click.echo(escape_line(f"{'base_url':<30} {described.base_url}"))
    click.echo(escape_line(f"{'captured':<30} {view.captured_version or 'nothing'}  {view.state}"))
    click.echo(f"models from {described.models_from}:")
    for one in described.models:
        click.echo(escape_line(f"  {one.id:<24} context {one.context:>9,}  answer {one.output:>8,}"))


@codex.command("set")
@click.option("--enable-dynamic-model-info/--disable-dynamic-model-info", default=None)
@click.option("--max-output-tokens-fallback", type=int, metavar="N")
@click.option("--propagate-unsupported-params/--block-unsupported-params", default=None)
@click.option("--system-prompt-injection-mode", metavar="MODE", help="override, append or disabled.")
@click.option("--verbose-logging/--no-verbose-logging", default=None)
@click.option("--header-override-enabled/--header-override-disabled", default=None)
@click.option("--config-file", "-c", type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@explain
def set_(ctx: click.Context, /, config_file: Path | None, as_json: bool, **values: Any) -> None:
    """Write settings of [codex]. The file keeps its comments, and is checked before it is written."""
    from ccproxy_tui.core.settings.edit import set_values

    changes = {name: value for name, value in values.items() if value is not None}
    if not changes:
        click.echo("No changes specified.")
        return
    loaded = _load(ctx)
    target = config_file or loaded.write_to
    try:
        set_values(target, {("codex", name): value for name, value in changes.items()})
    except OSError as error:
        raise Failure(f"{target} can't be written: {error.strerror}.") from error
    if as_json:
        click.echo(json.dumps({"file": str(target), "changed": changes}, indent=2))
        return
    click.echo(f"Updated Codex configuration at {target}")
    for name, value in changes.items():
        click.echo(escape_line(f"{name} = {value}"))
        prevails = loaded.prevailing(("codex", name))
        if config_file is None and prevails is not None:
            click.echo(escape_line(f"but {prevails} still takes precedence here"))


@codex.command("cache")
@click.option("--raw", is_flag=True, help="Print the whole capture as JSON.")
@click.option("--json", "as_json", is_flag=True, help="Same as --raw.")
@click.option("--clear", is_flag=True, help="Delete all captures.")
@click.option("--refresh", is_flag=True, help="Capture again.")
@click.option("--tool", type=click.Choice(["codex", "claude"]), default="codex", help="Whose.")
@click.pass_context
@explain
def cache(ctx: click.Context, /, raw: bool, as_json: bool, clear: bool, refresh: bool, tool: str) -> None:
    """Print what the installed tool sends, captured by running it against a local server."""
    detector = _detector(_load(ctx), tool)
    if clear:
        click.echo(f"{detector.clear()} files deleted.")
        return
    if refresh:
        asyncio.run(detector.detect(anew=True))
    view = detector.view()
    if raw or as_json:
        click.echo(json.dumps(msgspec.to_builtins(view), indent=2))
    elif view.captured is not None:
        _print_capture(view)
    if view.problem:
        raise Failure(view.problem + ".")
    if view.captured is None and not (raw or as_json):
        raise Failure(f"Nothing has been captured from {tool} yet. Use --refresh to capture it.")


def _print_capture(view: Any) -> None:
    at = time.strftime("%Y-%m-%d %H:%M", time.localtime(view.captured))
    click.echo(escape_line(f"{view.tool} {view.captured_version}, captured {at} ({view.state})"))
    click.echo(escape_line(f"{view.file}"))
    for name, value in view.headers:
        click.echo(escape_line(f"  {name}: {value or '(left out)'}"))
    click.echo(f"instructions: {len(view.instructions):,} characters, {view.digest}, as {view.shape}")
    preview = view.instructions[:_PREVIEW]
    click.echo(escape_block(preview) + ("…" if len(view.instructions) > _PREVIEW else ""))


@codex.command("test")
@click.option(
    "--endpoint", "-e", type=click.Choice(["chat", "response"]), default="response", help="Dialect of the request."
)
@click.option("--stream", is_flag=True, help="Request a stream, and print its bytes as they arrive.")
@click.option("--model", metavar="MODEL", help="Default: the first model of the backend.")
@click.option("--json", "as_json", is_flag=True, help="Print only the answer.")
@click.pass_context
@explain
def test(ctx: click.Context, /, endpoint: str, stream: bool, model: str | None, as_json: bool) -> None:
    """Send one small request to the running proxy. Exits 1 when it fails."""
    import httpx

    from ccproxy_tui.core.client_token import client_token
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.system.paths import Paths

    loaded = _load(ctx)
    paths = Paths.of_user()
    running = instances.running(paths)
    if not running:
        raise Failure(instances.none_runs(paths), 4)
    name = model or next((one.id for one in _describe(loaded).models), "")
    path, body = _question(endpoint, name, stream=stream)
    url = f"http://127.0.0.1:{running[0].port}/codex/v1/{path}"
    headers = {"authorization": f"Bearer {loaded.settings.security.token or client_token(paths)}"}
    if not as_json:
        click.echo(f"POST {url} {json.dumps(body)}")
    try:
        with httpx.Client(trust_env=False, timeout=_TEST_SECONDS) as client:
            status = _ask(client, url, body, headers)
    except httpx.TransportError as error:
        raise Failure(f"The proxy did not answer: {error}.") from error
    if status >= 400:
        raise click.exceptions.Exit(FAILURE)


def _question(endpoint: str, model: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    text = "Answer with the word ok."
    if endpoint == "chat":
        messages = [{"role": "user", "content": text}]
        return "chat/completions", {"model": model, "messages": messages, "stream": stream}
    return "responses", {"model": model, "input": text, "stream": stream}


def _ask(client: Any, url: str, body: dict[str, Any], headers: dict[str, str]) -> int:
    with client.stream("POST", url, json=body, headers=headers) as answer:
        click.echo(f"{answer.status_code}", err=True)
        for line in answer.iter_lines():
            click.echo(escape_line(redact_text(line)))
        return int(answer.status_code)


# --- where it comes from ---


def _load(ctx: click.Context) -> Loaded:
    return load_settings(**ctx.obj)


def _detector(loaded: Loaded, tool: str = "codex") -> Detector:
    from ccproxy_tui.core.detection import CLAUDE, CODEX, DetectionCache, Detector
    from ccproxy_tui.core.system.clock import SystemClock
    from ccproxy_tui.core.system.paths import Paths

    paths = Paths.of_user()
    chosen = getattr(loaded.settings, tool).cli_path
    recipe = CODEX if tool == "codex" else CLAUDE
    cache = DetectionCache(paths.cache)
    return Detector(recipe, cache, SystemClock(), paths.home, os.environ, lambda: chosen)


def _describe(loaded: Loaded) -> CodexView:
    """The models as the proxy would list them, asked of the backend when that may be."""
    from ccproxy_tui.core.system.clock import SystemClock
    from ccproxy_tui.core.system.paths import Paths
    from ccproxy_tui.providers.codex import Codex
    from ccproxy_tui.providers.registry import Context

    async def ask() -> CodexView:
        provider = Codex(Context(lambda: loaded.settings, SystemClock(), Paths.of_user()))
        try:
            return await provider.describe()
        finally:
            await provider.close()

    if not loaded.settings.providers.codex.enabled:
        raise Failure("The Codex provider is switched off (providers.codex.enabled).", USAGE)
    return asyncio.run(ask())
