"""`connect`, `ask`, `hook` and `permission-handler`: how agents and scripts reach the queue of permission requests."""

from __future__ import annotations

import asyncio
import difflib
import hashlib
import json
import os
import shlex
import shutil
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ccproxy_tui.cli.errors import FAILURE, USAGE, Failure, explain
from ccproxy_tui.cli.options import load_settings
from ccproxy_tui.core.text.escape import escape_block, escape_line
from ccproxy_tui.core.text.redact import redact_setting, redact_text
from ccproxy_tui.hook import SOURCES, run_hook

if TYPE_CHECKING:
    import httpx

    from ccproxy_tui.core.connect import Proxy, Target
    from ccproxy_tui.core.control.frames import AskView
    from ccproxy_tui.core.control.instances import Instance
    from ccproxy_tui.core.settings import Loaded
    from ccproxy_tui.core.settings.models import Security

_NOTHING_RUNS = 4
_EDITED = 5
_AIDER = """\
export ANTHROPIC_API_BASE={url}/api
export ANTHROPIC_API_KEY={key}
export OPENAI_API_BASE={url}/codex/v1
export OPENAI_API_KEY={key}"""


@click.command()
@click.argument("tool", type=click.Choice(["claude-code", "codex", "opencode", "aider"]))
@click.option("--undo", is_flag=True, help="Undo the changes.")
@click.option("--dry-run", is_flag=True, help="Show what would change, without writing it.")
@click.pass_context
@explain
def connect(ctx: click.Context, /, tool: str, undo: bool, dry_run: bool) -> None:
    """Point a tool at this proxy: its base URL and its permission requests. Other contents of its files are kept."""
    from ccproxy_tui.core.connect import TARGETS, TOKEN_VARIABLE

    loaded = load_settings(**ctx.obj)
    if loaded.is_from_stranger(("server", "port")) and not undo:
        raise Failure(
            f"The port comes from {loaded.origins['server', 'port']}, a file of this folder that you have not trusted. "
            f"Name it (--port {loaded.settings.server.port}) or trust the file (`ccproxy-tui trust`).",
            USAGE,
        )
    port, said = (loaded.settings.server.port, "") if undo else _port(loaded)
    url = f"http://127.0.0.1:{port}"
    if said:
        click.echo(said)
    proxy = _proxy(url, loaded.settings.security)
    if tool == "aider":
        click.echo(f"aider has no file for this. In its shell:\n{_AIDER.format(url=url, key=_key(proxy))}")
        return
    changed = [_change(tool, target, proxy, undo=undo, dry_run=dry_run) for target in TARGETS[tool]]
    if not any(changed):
        click.echo("Nothing to change.")
    if proxy.token and not undo and not dry_run:
        variable = "ANTHROPIC_AUTH_TOKEN" if tool == "claude-code" else TOKEN_VARIABLE
        click.echo(f"The proxy asks for a token: give it to the tool as the variable {variable}.")


def _port(loaded: Loaded) -> tuple[int, str]:
    """The port to write, and what to say about it: that of the one proxy that runs, unless the user names one."""
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.system.paths import Paths

    port = loaded.settings.server.port
    origin = loaded.origins.get(("server", "port"))
    if port and origin is not None and origin.kind != "default":
        return port, ""
    running = [one.port for one in instances.running(Paths.of_user()) if not one.demo]
    if len(running) == 1 and running[0] != port:
        return running[0], f"Your proxy runs on port {running[0]}, so that is the address."
    if len(running) > 1 and port not in running:
        ports = ", ".join(map(str, sorted(running)))
        raise Failure(f"Several proxies run (ports {ports}). Name one: `ccproxy-tui --port {running[0]} connect ...`.")
    if not port:
        raise Failure("No proxy runs and server.port is 0, so there is no address to write.")
    return port, ""


def _proxy(url: str, security: Security) -> Proxy:
    from ccproxy_tui.core.client_token import client_token, client_token_file, is_wanted
    from ccproxy_tui.core.connect import Proxy
    from ccproxy_tui.core.control.hook_proof import install_key, key_file
    from ccproxy_tui.core.system.paths import Paths

    paths = Paths.of_user()
    token_file = ""
    try:
        install_key(paths)
        if is_wanted(security):
            client_token(paths)
            token_file = str(client_token_file(paths))
    except OSError as error:
        raise Failure(f"The key for hooks, or the token, can't be made: {error}.") from error
    return Proxy(url, bool(security.token), token_file, f"{program()} hook", str(key_file(paths)))


def _key(proxy: Proxy) -> str:
    """Return what a shell is to send as the key."""
    from ccproxy_tui.core.connect import NO_KEY

    if proxy.token_file:
        return f'"$(cat {shlex.quote(proxy.token_file)})"'
    return "$CCPROXY_TOKEN" if proxy.token else NO_KEY


def program() -> str:
    """The command that runs this program, for a shell, whatever folder and PATH it will have."""
    started = Path(sys.argv[0])
    for path in (started, Path(sys.executable).with_name("ccproxy-tui")):
        if path.name == "ccproxy-tui" and path.is_file():
            return shlex.quote(os.path.abspath(path))  # noqa: PTH100 - a link stays: it outlives an update
    return f"{shlex.quote(sys.executable)} -P -m ccproxy_tui"  # -P: not the one of the folder that it is run in


def _change(tool: str, target: Target, proxy: Proxy, *, undo: bool, dry_run: bool) -> bool:
    """One file. Whether it is another one now (or would be)."""
    from ccproxy_tui.core.connect import CantConnect

    path = _place(target.path)
    try:
        before = path.read_text("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} was not changed: it can't be read as text ({error}).") from error
    try:
        after = _undone(tool, target, path, before, proxy) if undo else target.add(before, proxy)
    except CantConnect as problem:
        raise Failure(f"{path} was not changed: {problem}.") from problem
    if after == before or (after is None and not path.exists()):
        return False
    for line in difflib.unified_diff(
        before.splitlines(), (after or "").splitlines(), str(path), str(path), lineterm="", n=2
    ):
        click.echo(escape_block(_shown(line, path)))
    if not dry_run:
        _write(tool, target, path, before, after, undo=undo)
    return True


def _shown(line: str, path: Path) -> str:
    """A line of the difference without secrets. A program of ours, and the word for no key, hold none."""
    from ccproxy_tui.core.connect import NO_KEY

    if line.startswith("+") and f'": "{NO_KEY}"' in line:
        return line
    return redact_text(line) if path.suffix == ".js" else redact_setting(line)


def _place(name: str) -> Path:
    from ccproxy_tui.core.connect import FOLDERS

    folder, _, rest = name.partition("/")
    moved = os.environ.get(FOLDERS.get(folder, ""), "")
    return Path(moved) / rest if moved else Path.home() / name


def _memory(tool: str, target: Target) -> Path:
    """Where the file's earlier bytes are kept, for undoing."""
    from ccproxy_tui.core.system.paths import Paths

    return Paths.of_user().state / "connect" / f"{tool}-{Path(target.path).name}.json"


def _undone(tool: str, target: Target, path: Path, before: str, proxy: Proxy) -> str | None:
    """The text without us; None when there was no file before."""
    kept = _remembered(tool, target)
    if kept is not None and kept.get("after") == _digest(before):
        return None if kept.get("before") is None else str(kept["before"])
    return target.remove(before, proxy) if before else before


def _remembered(tool: str, target: Target) -> dict[str, Any] | None:
    try:
        kept = json.loads(_memory(tool, target).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return kept if isinstance(kept, dict) else None


def _write(tool: str, target: Target, path: Path, before: str, after: str | None, *, undo: bool) -> None:
    from ccproxy_tui.core.system.files import replace_file

    memory = _memory(tool, target)
    try:
        if undo:
            memory.unlink(missing_ok=True)
        else:
            _remember(memory, _remembered(tool, target), path, before, after or "")
        if after is None:
            path.unlink()
        else:
            replace_file(path, after.encode())
    except OSError as error:
        raise Failure(f"{path} can't be written: {error.strerror}.") from error
    click.echo(f"{'removed' if after is None else 'restored' if undo else 'wrote'} {path}")


def _remember(memory: Path, kept: dict[str, Any] | None, path: Path, before: str, after: str) -> None:
    """The bytes from before the first change of ours; nothing when somebody else has changed the file since."""
    from ccproxy_tui.core.system.files import replace_file

    if kept is not None and kept.get("after") != _digest(before):
        memory.unlink(missing_ok=True)
        return
    first = kept.get("before") if kept is not None else (before if path.exists() else None)
    replace_file(memory, json.dumps({"before": first, "after": _digest(after)}).encode(), mode=0o600)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- asking ---


@click.command()
@click.argument("question")
@click.option("--input", "given", metavar="JSON", help="Input of the tool as JSON, shown on the card.")
@click.option("--port", "-p", type=click.IntRange(1, 65535), help="Port of the proxy to ask.")
@explain
def ask(question: str, given: str | None, port: int | None) -> None:
    """Ask for your approval at the terminal. Exits 0 when allowed, 1 when denied or on an error, 4 when no proxy runs.

    5: a yes to an input that the user has edited, which is printed as JSON.
    """
    from ccproxy_tui.core.formats import keys

    try:
        shown = keys.load(given) if given else {}
    except (ValueError, RecursionError) as error:
        raise Failure(f"--input is not valid JSON: {error}", USAGE) from error
    from ccproxy_tui.core.control.asking import NotAsked, NothingRuns
    from ccproxy_tui.core.control.asking import ask as ask_proxy
    from ccproxy_tui.core.system.paths import Paths

    body = {"tool_name": question, "input": shown, "cwd": str(Path.cwd())}
    try:
        answer = ask_proxy(Paths.of_user(), "/permissions", json.dumps(body).encode(), port)
    except NothingRuns as problem:
        raise Failure(str(problem), _NOTHING_RUNS) from problem
    except NotAsked as problem:
        raise Failure(str(problem)) from problem
    if answer.get("allowed") is not True:
        click.echo(escape_line(str(answer.get("message") or "no")), err=True)
        raise click.exceptions.Exit(FAILURE)
    if answer.get("input", shown) != shown:  # a script that does not know of edits must not go on with its own
        click.echo(json.dumps(answer["input"]))
        raise click.exceptions.Exit(_EDITED)


@click.command(hidden=True)
@click.argument("source", type=click.Choice(SOURCES))
def hook(source: str) -> None:
    """Run as a tool's hook: reads the event from stdin, prints the decision. Prints nothing when no proxy runs."""
    run_hook(source)


def _running(port: int | None = None) -> Instance:
    """Return the proxy of this user that runs (on `port`). Raises Failure."""
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.system.paths import NotOurs, Paths

    try:
        paths = Paths.of_user()
        found = [one for one in instances.running(paths) if port in (None, one.port)]
    except NotOurs as error:
        raise Failure(str(error)) from error
    if not found:
        raise Failure(instances.none_runs(paths, port), _NOTHING_RUNS)
    return found[0]


def _client(instance: Instance) -> httpx.AsyncClient:
    from ccproxy_tui.core.control.transport import control_http

    return control_http(socket=instance.socket)


def _over_tcp(host: str, port: int) -> httpx.AsyncClient:
    """Return a client for an address of this machine, with the key of the proxy there. Raises Failure."""
    import socket

    from ccproxy_tui.core.control.key import find_key
    from ccproxy_tui.core.control.transport import control_http
    from ccproxy_tui.core.system.paths import Paths

    key = find_key(Paths.of_user(), port)
    if key is None:
        raise Failure(f"No proxy of yours runs on port {port} of this machine.", _NOTHING_RUNS)
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise Failure(f"{host} can't be found: {error.strerror}.") from error
    name = f"[{address}]" if ":" in str(address) else address
    return control_http(url=f"http://{name}:{port}", key=key)


# --- a handler without screens ---


@click.command("permission-handler")
@click.option("--host", "-h", help="Address of this machine where the proxy listens; default: its socket.")
@click.option("--port", "-p", type=click.IntRange(1, 65535), help="Port of the proxy.")
@click.option("--plain", is_flag=True, help="Accepted for compatibility; the output is always plain lines.")
@explain
def permission_handler(host: str | None, port: int | None, plain: bool) -> None:
    """Decide on permission requests line by line, in a terminal of its own. `ccproxy-tui` does more."""
    if not sys.stdin.isatty():
        raise Failure("This command needs a terminal, because you decide there.", USAGE)
    from ccproxy_tui.core.control import instances
    from ccproxy_tui.core.control.standing import watched
    from ccproxy_tui.core.system.paths import Paths

    if host is None:
        instance: Instance | None = (running := _running(port))
        client = _client(running)
    else:
        client = _over_tcp(host, port or 8000)
        instance = instances.on_port(Paths.of_user(), port or 8000)
    try:
        with nullcontext() if instance is None else watched(instance):
            asyncio.run(_handle(client))
    except KeyboardInterrupt:
        click.echo("")


async def _handle(client: httpx.AsyncClient) -> None:
    import httpx

    from ccproxy_tui.core.text import sse

    decoder = sse.Decoder()
    try:
        async with client, client.stream("GET", "/permissions/stream", timeout=None) as stream:
            if stream.is_error:
                await stream.aread()
                raise Failure(f"The proxy answered {stream.status_code}: {escape_line(redact_text(stream.text)[:300])}")
            click.echo("waiting for permission requests; ctrl+c quits")
            async for chunk in stream.aiter_bytes():
                for event in decoder.feed(chunk):
                    await _take(client, event.name, json.loads(event.data))
    except httpx.TransportError as error:
        raise Failure(f"The proxy can't be reached, or has stopped: {error}.") from None


async def _card(client: httpx.AsyncClient, name: str, *, reveal: bool = False) -> AskView | None:
    """What all front ends show of a request; None when it has gone."""
    import msgspec

    from ccproxy_tui.core.control.frames import AskView

    found = await client.get(f"/permissions/{name}/card", params={"reveal": str(reveal).lower()})
    return msgspec.json.decode(found.content, type=AskView) if found.is_success else None


def _show(ask: AskView) -> None:
    """In lines that the terminal does not wrap by itself: one that goes on at its left edge could pass for another."""
    import msgspec

    from ccproxy_tui.screens.ui.card_view import body_lines, head_lines

    width = max(shutil.get_terminal_size().columns - 1, 20)
    keyless = msgspec.structs.replace(ask, exchange="")  # the card names a key that opens it
    lines = [*head_lines(ask, width, ask.left, 1, 1), *body_lines(keyless, width)]
    click.echo("\n" + "\n".join(line.text for line in lines))


async def _take(client: httpx.AsyncClient, name: str, event: dict[str, Any]) -> None:
    if name != "permission_request":
        return
    ask = await _card(client, event["request_id"])
    if ask is None:
        return
    _show(ask)
    reveals = "reveal to see the credential, " if ask.masked else ""
    typed = await asyncio.to_thread(input, f"type yes to allow, {reveals}anything else denies: ")
    if ask.masked and typed.strip() == "reveal":
        ask = await _card(client, ask.id, reveal=True) or ask
        _show(ask)
        typed = await asyncio.to_thread(input, "type yes to allow, anything else denies: ")
    answer = {"allowed": typed.strip() == "yes"}
    done = await client.post(f"/permissions/{event['request_id']}/respond", json=answer)
    told = "allowed" if answer["allowed"] else "denied"
    click.echo(told if done.is_success else escape_line(redact_text(done.text)))
