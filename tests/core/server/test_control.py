"""The control API as a front end uses it, over the unix socket."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from ccproxy_tui.core.control.frames import Frame, Watch
from ccproxy_tui.core.control.protocol import ControlError, ControlLost
from tests.conftest import ACCESS_TOKEN, Proxy, StartProxy, until
from tests.fakes.upstream import ScriptedUpstream, Wait, anthropic_stream, json_reply, sse_reply

STREAM = {"model": "claude-opus-4-1", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
PATH = "/api/v1/messages"


class Watcher:
    """Collects frames in the background."""

    def __init__(self, proxy: Proxy, watch: Watch) -> None:
        self.control = proxy.control()
        self.frames: list[Frame] = []
        self._task = asyncio.ensure_future(self._run(watch))
        self.lost = False

    async def _run(self, watch: Watch) -> None:
        try:
            async for frame in self.control.frames(watch):
                self.frames.append(frame)
        except ControlLost:
            self.lost = True

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self.control.close()

    def rows(self) -> list[tuple[str, str]]:
        return [(row.id, row.state) for frame in self.frames for row in frame.rows]


async def test_the_socket_and_its_folder_are_for_this_user_alone(proxy: Proxy) -> None:
    socket = Path(proxy.socket)
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


async def test_the_first_frame_is_the_whole_picture(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(json_reply({}))
    await proxy.client.post(PATH, json=STREAM)
    await proxy.ended()
    watcher = Watcher(proxy, Watch())
    await until(lambda: bool(watcher.frames))
    first = watcher.frames[0]
    assert first.reset
    assert [row.id for row in first.rows] == [proxy.last.id]
    assert first.status is not None
    assert (first.status.port, first.status.total, first.status.live) == (proxy.hub.port, 1, 0)
    assert next((a.provider, a.state[:2]) for a in first.status.accounts) == ("claude", "ok")
    await watcher.stop()


async def test_later_frames_hold_what_changed_and_stop_when_nothing_does(
    proxy: Proxy, upstream: ScriptedUpstream
) -> None:
    watcher = Watcher(proxy, Watch(hz=50))
    await until(lambda: bool(watcher.frames))
    upstream.replies.append(sse_reply(*anthropic_stream()))
    await proxy.client.post(PATH, json=STREAM)
    record = await proxy.ended()
    await until(lambda: (record.id, "200") in watcher.rows())
    count = len(watcher.frames)
    await asyncio.sleep(0.15)
    assert len(watcher.frames) == count
    await watcher.stop()


async def test_the_text_of_a_watched_stream_comes_as_it_grows(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    events = anthropic_stream("first second third")
    upstream.replies.append(sse_reply(*events[:4], Wait(event=go_on), *events[4:]))
    asked = asyncio.ensure_future(proxy.client.post(PATH, json=STREAM))
    await until(lambda: len(proxy.hub.store) == 1 and proxy.last.events >= 4)
    watcher = Watcher(proxy, Watch(texts=[proxy.last.id], hz=50))

    def text() -> str:
        return "".join(s.text for frame in watcher.frames for t in frame.texts for s in t.segments)

    await until(lambda: text() == "first")
    go_on.set()
    await asked
    await until(lambda: text() == "firstsecondthird")
    await watcher.stop()


async def test_what_is_not_looked_at_is_not_sent(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    watcher = Watcher(proxy, Watch(rows=False, hz=50))
    await until(lambda: bool(watcher.frames))
    upstream.replies.append(sse_reply(*anthropic_stream()))
    await proxy.client.post(PATH, json=STREAM)
    await proxy.ended()
    assert not [frame for frame in watcher.frames if frame.rows or frame.texts or frame.logs or frame.detail]
    await watcher.stop()


async def test_a_viewer_can_look_at_something_else(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    upstream.replies.append(sse_reply(*anthropic_stream("words")))
    await proxy.client.post(PATH, json=STREAM)
    record = await proxy.ended()
    watcher = Watcher(proxy, Watch(hz=0.5))
    await until(lambda: bool(watcher.frames))
    await watcher.control.look_at(Watch(detail=record.id, texts=[record.id], hz=0.5))
    await until(lambda: any(frame.detail for frame in watcher.frames), seconds=1.5)
    detail = next(frame.detail for frame in watcher.frames if frame.detail)
    assert detail.upstream_url == f"{upstream.url}/v1/messages"
    assert detail.bodies["request"].size == len(upstream.seen[0].body)
    assert ACCESS_TOKEN not in repr(detail)
    await watcher.stop()


async def test_bodies_are_given_in_pieces_with_their_secrets_masked(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    secret = "sk-ant-api03-abcdefghijklmnopqrstuvwxyz"
    upstream.replies.append(json_reply({"answer": secret}))
    await proxy.client.post(PATH, json={**STREAM, "stream": False, "note": f"my key is {secret}"})
    record = await proxy.ended()
    control = proxy.control()
    request = await control.body(record.id, "request")
    assert b"my key is [redacted]" in request
    assert secret.encode() not in request + await control.body(record.id, "response")
    assert await control.body(record.id, "request", 2, 5) == request[2:7]
    await control.close()


async def test_verbs_on_what_is_not_there_say_so(proxy: Proxy, upstream: ScriptedUpstream) -> None:
    control = proxy.control()
    with pytest.raises(ControlError, match="no such exchange"):
        await control.detail("nothing")
    with pytest.raises(ControlError, match="no such exchange"):
        await control.stop_exchange("nothing")
    upstream.replies.append(json_reply({}))
    await proxy.client.post(PATH, json=STREAM)
    record = await proxy.ended()
    with pytest.raises(ControlError, match="has ended"):
        await control.stop_exchange(record.id)
    with pytest.raises(ControlError, match="Not a part"):
        await control.body(record.id, "nonsense")  # type: ignore[arg-type]
    await control.close()


async def test_a_setting_is_written_applied_and_shown_with_its_origin(proxy: Proxy) -> None:
    control = proxy.control()
    effect = await control.change_setting("server.keepalive_seconds", "7")
    assert "in effect now" in effect
    assert proxy.hub.settings.server.keepalive_seconds == 7
    entry = next(e for e in await control.settings() if e["key"] == "server.keepalive_seconds")
    assert entry["value"] == "7"
    assert entry["origin"].startswith("file ")
    await control.close()


async def test_a_setting_that_waits_for_a_restart_is_shown_as_such_and_stays_out(start_proxy: StartProxy) -> None:
    """Also when another one is changed after it, and when an editor has written the file."""
    proxy = await start_proxy()
    control, path = proxy.control(), proxy.hub.loaded.write_to
    assert "after a restart" in await control.change_setting("security.auth_token", "a-token-to-come")
    path.write_text(path.read_text() + "[logging]\nlevel = 'debug'\n")
    assert "in effect now" in await control.change_setting("server.keepalive_seconds", "7")
    security, level = proxy.hub.settings.security, proxy.hub.settings.logging.level
    assert (security.auth_token, level) == (None, "INFO")
    entries = {entry["key"]: entry for entry in await control.settings()}
    token = entries["security.auth_token"]
    assert (token["value"], "a-token-to-come" in repr(entries), bool(token["pending"])) == ("", False, True)
    assert (entries["logging.level"]["value"], entries["logging.level"]["pending"]) == ("INFO", "DEBUG")
    assert entries["server.keepalive_seconds"]["pending"] is None
    assert "already in effect" in await control.change_setting("security.auth_token", None)
    entries = {entry["key"]: entry["pending"] for entry in await control.settings()}
    assert (entries["security.auth_token"], entries["logging.level"]) == (None, "DEBUG")
    await control.close()


async def test_a_setting_of_the_screens_has_no_effect_in_the_proxy(proxy: Proxy) -> None:
    control = proxy.control()
    assert "screens read it when they start" in await control.change_setting("ui.theme", "light")
    assert 'theme = "light"' in proxy.hub.loaded.write_to.read_text()
    await control.close()


async def test_a_bad_setting_is_refused_and_nothing_is_written(proxy: Proxy) -> None:
    control = proxy.control()
    with pytest.raises(ControlError, match="less than or equal"):
        await control.change_setting("server.port", "99999")
    with pytest.raises(ControlError, match="no such setting"):
        await control.change_setting("server.nothing", "1")
    assert not proxy.hub.loaded.write_to.exists()
    await control.close()


async def test_a_setting_that_the_environment_sets_says_that_it_prevails(start_proxy: StartProxy) -> None:
    import os

    os.environ["SERVER__KEEPALIVE_SECONDS"] = "11"
    proxy = await start_proxy()
    control = proxy.control()
    assert "still takes precedence" in await control.change_setting("server.keepalive_seconds", "7")
    await control.close()


async def test_secrets_are_never_in_the_settings_list(start_proxy: StartProxy) -> None:
    proxy = await start_proxy(SECURITY__AUTH_TOKEN="very-secret-token", PROVIDERS__CLAUDE_API__API_KEY="sk-secret-key")
    control = proxy.control()
    assert "secret" not in repr([e["value"] for e in await control.settings()])
    await control.close()


async def test_viewers_are_let_go_when_the_proxy_stops(start_proxy: StartProxy) -> None:
    proxy = await start_proxy()
    watcher = Watcher(proxy, Watch())
    await until(lambda: bool(watcher.frames))
    control = proxy.control()
    await control.shutdown(drain=True)
    await asyncio.wait_for(proxy.task, 3)
    await until(lambda: watcher.lost)
    assert not Path(proxy.socket).exists()
    await watcher.stop()
    await control.close()


async def test_log_lines_reach_a_viewer_that_looks_at_them(proxy: Proxy) -> None:
    from ccproxy_tui.core.system.logging import LogLine

    proxy.hub.store.add_log(LogLine(1, 1.0, "warning", "test", "before"))
    watcher = Watcher(proxy, Watch(logs=True, hz=50))
    await until(lambda: bool(watcher.frames))
    proxy.hub.store.add_log(LogLine(2, 2.0, "error", "test", "after"))
    await until(lambda: len([1 for frame in watcher.frames for _ in frame.logs]) == 2)
    assert [line.message for frame in watcher.frames for line in frame.logs] == ["before", "after"]
    await watcher.stop()
