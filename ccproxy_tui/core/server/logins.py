"""Logins started from a screen: one per provider, ended by the browser, by a pasted answer, or by the person."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.callback import WAITS, CallbackServer
from ccproxy_tui.core.auth.file_lock import LockTimeout
from ccproxy_tui.core.auth.oauth_login import Change, CodeLogin, DeviceLogin, LoginFailed
from ccproxy_tui.core.control.frames import LoginView
from ccproxy_tui.core.errors import InvalidRequest, ProxyError
from ccproxy_tui.core.system.supervisor import Tasks

_SECONDS = 900.0


class _Running:
    def __init__(self, made: CodeLogin | DeviceLogin) -> None:
        self.made = made
        self.pasted: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.view = LoginView("waiting")
        self.task: asyncio.Task[None] | None = None


class Logins:
    def __init__(self, tasks: Tasks, changed: Callable[[], None] = lambda: None) -> None:
        """`changed` is called when a login has come to its end, good or bad."""
        self._tasks = tasks
        self._changed = changed
        self._running: dict[str, _Running] = {}

    def view(self, provider: str) -> LoginView | None:
        running = self._running.get(provider)
        return None if running is None else running.view

    async def start(self, account: Account) -> LoginView:
        """A new login; one that was under way ends. Raises InvalidRequest when it can't be started."""
        self.cancel(account.provider)
        if account.make_login is None:
            raise InvalidRequest(f"{account.provider} does not support login.")
        made = account.make_login()
        running = self._running[account.provider] = _Running(made)
        try:
            if isinstance(made, DeviceLogin):
                await made.start()
        except LoginFailed as error:
            del self._running[account.provider]
            raise InvalidRequest(str(error)) from error
        except ProxyError:
            del self._running[account.provider]
            raise
        code = made.code if isinstance(made, DeviceLogin) else ""
        port = 0 if isinstance(made, DeviceLogin) else made.port
        running.view = LoginView("waiting", made.url, code, port)
        running.task = self._tasks.start(self._run(account, running), name=f"login {account.provider}")
        return running.view

    def answer(self, provider: str, text: str) -> None:
        """Take what a person pasted. Raises InvalidRequest when no login waits for it; one that waits goes on."""
        running = self._running.get(provider)
        if running is None or running.pasted.done() or running.view.state != "waiting":
            raise InvalidRequest(f"No {provider} login is in progress.")
        if not isinstance(running.made, DeviceLogin) and not running.made.belongs(text):
            raise InvalidRequest(WAITS)
        running.pasted.set_result(text)

    def answer_by_state(self, state: str, url: str) -> bool:
        """What a browser brought to the proxy itself. Whether a login waits for it."""
        for running in self._running.values():
            made = running.made
            if isinstance(made, DeviceLogin) or running.pasted.done() or running.view.state != "waiting":
                continue
            if secrets.compare_digest(made.state.encode(), state.encode()):
                running.pasted.set_result(url)
                return True
        return False

    def cancel(self, provider: str) -> None:
        running = self._running.pop(provider, None)
        if running is not None and running.task is not None:
            running.task.cancel()

    async def _run(self, account: Account, running: _Running) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                change = await self._finish(running)
                path = await account.log_in(change)
                if isinstance(running.made, DeviceLogin):
                    await account.credential()
            running.view = LoginView("done", message=f"logged in; saved in {path}")
        except TimeoutError:
            running.view = LoginView("failed", message="the login was not completed in time")
        except ProxyError as error:
            running.view = LoginView("failed", message=error.text)
        except (LoginFailed, LockTimeout, OSError) as error:
            running.view = LoginView("failed", message=str(error))
        self._changed()

    async def _finish(self, running: _Running) -> Change:
        made = running.made
        if isinstance(made, DeviceLogin):
            return await made.finish()
        server = CallbackServer(made.port, made.path, made.belongs)
        await server.start()
        try:
            done, _ = await asyncio.wait({server.answer, running.pasted}, return_when=asyncio.FIRST_COMPLETED)
            return await made.finish(done.pop().result())
        finally:
            await server.close()
