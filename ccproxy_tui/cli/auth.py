"""`auth`: logins from the command line, over SSH too."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from ccproxy_tui.cli.errors import FAILURE, USAGE, Failure, explain
from ccproxy_tui.cli.options import load_settings
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.core.text.qr import qr_lines

if TYPE_CHECKING:
    from ccproxy_tui.core.auth.account import Account, AnyAccount
    from ccproxy_tui.core.auth.oauth_login import Change, CodeLogin, DeviceLogin

_WAIT = 600
_NAMES = ("claude", "codex", "copilot")


@click.group()
def auth() -> None:
    """Log in and out, and show accounts."""


@auth.command("status")
@click.argument("name", metavar="[ACCOUNT]", default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@explain
def status(ctx: click.Context, /, name: str, as_json: bool) -> None:
    """Show the state of all accounts, or of one. Exits 1 when none of them can serve."""
    accounts = _accounts(ctx)
    details = [account.detail() for account in accounts if name in ("", account.provider)]
    if not details:
        raise Failure(f"There is no account {name}. There are: {_names(accounts)}.", USAGE)
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(detail) for detail in details], indent=2))
    else:
        for detail in details:
            view = detail.view
            line = f"{view.provider:<8} {view.state:<22} {view.label:<8} {_when(detail.expires)} {detail.source}"
            click.echo(escape_line(line.rstrip()))
            for note in filter(None, (view.hint, detail.warning, detail.problem)):
                click.echo(escape_line(f"         {note}"))
    if not any(detail.view.ok for detail in details):
        raise click.exceptions.Exit(FAILURE)


auth.add_command(status, "info")


@auth.command("validate")
@click.argument("name", metavar="[ACCOUNT]", default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
@explain
def validate(ctx: click.Context, /, name: str, as_json: bool) -> None:
    """Test each credential with its provider, at no cost. Exits 1 when one is refused, or there is none."""
    accounts = _accounts(ctx)
    chosen = [one for one in accounts if name == one.provider or (not name and one.view().state != "missing")]
    if name and not chosen:
        raise Failure(f"There is no account {name}. There are: {_names(accounts)}.", USAGE)
    results = [_check(account) for account in chosen]
    if as_json:
        click.echo(json.dumps([{"account": name, "ok": ok, "said": said} for name, ok, said in results], indent=2))
    else:
        for provider, ok, said in results:
            click.echo(escape_line(f"{provider:<16} {'ok' if ok else 'refused':<8} {said}"))
        if not results:
            click.echo("No account is logged in. Run `ccproxy-tui auth login`.")
    if not results or not all(ok for _, ok, _ in results):
        raise click.exceptions.Exit(FAILURE)


def _check(account: AnyAccount) -> tuple[str, bool, str]:
    try:
        return account.provider, True, _run(account.check())
    except Failure as problem:
        return account.provider, False, problem.format_message()


@auth.command("import")
@click.argument("name", metavar="ACCOUNT")
@click.argument("file", type=click.Path(path_type=Path))
@click.pass_context
@explain
def import_login(ctx: click.Context, /, name: str, file: Path) -> None:
    """Import the credentials of another FILE of the same shape."""
    account = _account(ctx, name)
    click.echo(f"Imported. The credentials are in {_run(account.import_login(file.expanduser()))}.")


@auth.command("refresh")
@click.argument("name", metavar="ACCOUNT", default="claude")
@click.pass_context
@explain
def refresh(ctx: click.Context, /, name: str) -> None:
    """Renew a token now."""
    account = _account(ctx, name)
    _run(account.renew_now())
    click.echo(f"{account.provider}: {account.view().state}")


auth.add_command(refresh, "renew")


@auth.command("login")
@click.argument("name", metavar="ACCOUNT", default="claude")
@click.option("--no-browser", is_flag=True, help="Do not open a browser; print the address alone.")
@click.option("--qr", is_flag=True, help="Print the address as a QR code, too.")
@click.pass_context
@explain
def login(ctx: click.Context, /, name: str, no_browser: bool, qr: bool) -> None:
    """Log in with a browser, here or on another machine: you can paste its address or code."""
    account = _account(ctx, name)
    if account.make_login is None:
        raise Failure(f"{account.provider} does not support login.")
    change = _run(_log_in(account.make_login(), browser=not no_browser, qr=qr))
    path = _run(account.log_in(change))
    if account.provider.startswith("copilot"):
        _run(account.credential())
    click.echo(f"Logged in. The credentials are in {path}.")


@auth.command("login-openai")
@click.option("--no-browser", is_flag=True, help="Do not open a browser; print the address alone.")
@click.pass_context
def login_openai(ctx: click.Context, /, no_browser: bool) -> None:
    """The same as `auth login codex`."""
    ctx.invoke(login, name="codex", no_browser=no_browser, qr=False)


@auth.command("logout")
@click.argument("name", metavar="ACCOUNT")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_context
@explain
def logout(ctx: click.Context, /, name: str, yes: bool) -> None:
    """Remove credentials from their file. This also logs out the provider's own command-line tool."""
    account = _account(ctx, name)
    if not yes:
        click.confirm(f"Remove the {account.provider} credentials from {account.target}?", abort=True)
    path = _run(account.log_out())
    click.echo(f"Logged out. {path} no longer contains {account.provider} credentials.")


# --- logging in ---


async def _log_in(made: CodeLogin | DeviceLogin, *, browser: bool, qr: bool) -> Change:
    from ccproxy_tui.core.auth.oauth_login import DeviceLogin, LoginFailed

    try:
        async with asyncio.timeout(_WAIT):
            if isinstance(made, DeviceLogin):
                return await _by_device(made, browser=browser, qr=qr)
            return await _by_code(made, browser=browser, qr=qr)
    except LoginFailed as error:
        raise Failure(str(error)) from error
    except TimeoutError:
        raise Failure(f"The login was not completed within {_WAIT // 60} minutes.") from None


async def _by_device(made: DeviceLogin, *, browser: bool, qr: bool) -> Change:
    await made.start()
    if qr:
        _print_qr(made.url)
    click.echo(escape_line(f"Open {made.url} in a browser anywhere and type the code {made.code}"))
    _open_browser(made.url, browser=browser)
    return await made.finish()


async def _by_code(made: CodeLogin, *, browser: bool, qr: bool) -> Change:
    from ccproxy_tui.core.auth.callback import CallbackServer

    server = CallbackServer(made.port, made.path, made.belongs)
    listening = await server.start()
    click.echo(f"Open this address in a browser:\n\n  {made.url}\n")
    if qr:
        _print_qr(made.url)
    if listening:
        click.echo(f"On another machine, forward the port first: ssh -L {made.port}:127.0.0.1:{made.port} ...")
    click.echo("Or paste the code, or the address that the browser ends at, here:")
    _open_browser(made.url, browser=browser)
    typed = asyncio.ensure_future(_read_line())
    try:
        done, _ = await asyncio.wait({typed, server.answer}, return_when=asyncio.FIRST_COMPLETED)
        return await made.finish(done.pop().result())
    finally:
        typed.cancel()
        await server.close()


def _print_qr(text: str) -> None:
    for line in qr_lines(text):
        click.secho(line, fg="bright_white", bg="black")


async def _read_line() -> str:
    """One line from the terminal, without a thread that could not be stopped. At its end, wait for the browser."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    try:
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    except (OSError, ValueError):
        return await asyncio.Future()
    try:
        while line := await reader.readline():
            if text := line.decode("utf-8", "replace").strip():
                return text
        return await asyncio.Future()
    finally:
        transport.pause_reading()
        os.set_blocking(sys.stdin.fileno(), True)  # the shell shares this terminal, and expects it as it was


def _open_browser(url: str, *, browser: bool) -> None:
    if browser and sys.stdout.isatty():
        click.launch(url)


# --- accounts ---


def _accounts(ctx: click.Context) -> list[AnyAccount]:
    from ccproxy_tui.core.system.clock import SystemClock
    from ccproxy_tui.core.system.paths import Paths
    from ccproxy_tui.providers.registry import Context, load_providers

    settings = load_settings(**ctx.obj).settings
    providers = load_providers(Context(lambda: settings, SystemClock(), Paths.of_user()))
    return [account for provider in providers for account in provider.accounts()]


def _names(accounts: list[AnyAccount]) -> str:
    return ", ".join(account.provider for account in accounts) or "none"


def _account(ctx: click.Context, name: str) -> Account:
    from ccproxy_tui.core.auth.account import Account

    logins = {account.provider: account for account in _accounts(ctx) if isinstance(account, Account)}
    if name in logins:
        return logins[name]
    if name in _NAMES:
        raise Failure(f"{name} is switched off, or uses an API key from the settings.")
    raise Failure(f"There is no account {name}. Those that support login: {', '.join(logins) or 'none'}.", USAGE)


def _run(work: Awaitable[Any]) -> Any:
    from ccproxy_tui.core.auth.file_lock import LockTimeout
    from ccproxy_tui.core.errors import ProxyError

    async def run() -> Any:
        return await work

    try:
        return asyncio.run(run())
    except ProxyError as error:
        raise Failure(error.text) from error
    except (OSError, LockTimeout) as error:
        raise Failure(f"The credentials can't be saved: {error}.") from error


def _when(expires: float | None) -> str:
    return "" if expires is None else f"until {datetime.fromtimestamp(expires, UTC):%Y-%m-%d %H:%M} UTC"
