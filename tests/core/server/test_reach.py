"""What the header says of accounts follows the facts: an upstream that does not answer, a login that has just come."""

from __future__ import annotations

import asyncio
import time

import pytest

from ccproxy_tui.core.control.frames import AccountView, Watch
from tests.conftest import Proxy, StartProxy, until, write_claude_login
from tests.core.server.test_accounts import token_settings
from tests.core.server.test_control import PATH, STREAM, Watcher
from tests.fakes.upstream import ScriptedUpstream, json_reply


def claude(watcher: Watcher) -> AccountView | None:
    """The Claude account as the latest frame with a status says it."""
    statuses = [frame.status for frame in watcher.frames if frame.status is not None]
    return next((one for one in statuses[-1].accounts if one.provider == "claude"), None) if statuses else None


async def test_an_upstream_that_does_not_answer_is_said_until_it_does(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    watcher = Watcher(proxy, Watch(rows=False))
    await until(lambda: claude(watcher) is not None)
    upstream._server.close()
    began = time.time()
    for _ in range(2):
        assert (await proxy.client.post(PATH, json=STREAM)).status_code == 502
    await until(lambda: (view := claude(watcher)) is not None and view.unreachable is not None)
    view = claude(watcher)
    assert view is not None
    assert view.unreachable is not None
    assert began - 1 < view.unreachable < time.time()
    [detail] = [one for one in await watcher.control.accounts() if one.view.provider == "claude"]
    assert detail.view.unreachable == view.unreachable, "the first failure counts, in every view"
    server = await asyncio.start_server(upstream._serve, "127.0.0.1", upstream.port)
    upstream.replies.append(json_reply({"type": "error", "error": {"type": "x", "message": "busy"}}, 529))
    assert (await proxy.client.post(PATH, json=STREAM)).status_code == 529
    await until(lambda: (view := claude(watcher)) is not None and view.unreachable is None)
    server.close()
    await watcher.stop()


@pytest.mark.usefixtures("login_ports")
async def test_the_next_frame_after_a_login_says_so(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    write_claude_login().unlink()
    upstream.default = lambda seen: json_reply({"access_token": "new-one", "refresh_token": "r", "expires_in": 3600})
    proxy = await start_proxy(**token_settings(upstream))
    watcher = Watcher(proxy, Watch(rows=False))
    await until(lambda: (view := claude(watcher)) is not None and not view.ok)
    await watcher.control.start_login("claude")
    await watcher.control.answer_login("claude", "some-code")
    await until(lambda: (view := claude(watcher)) is not None and view.ok)
    await watcher.control.log_out("claude")
    await until(lambda: (view := claude(watcher)) is not None and not view.ok)
    await watcher.stop()
