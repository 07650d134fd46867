"""The screens through their real keys, on a fake proxy."""

from __future__ import annotations

import msgspec
import pytest
from textual.pilot import Pilot

from ccproxy_tui.app import CCProxyApp
from ccproxy_tui.core.control.frames import AccountView, Frame, LogView, Segment, TextFrame
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.screens.accounts import AccountsScreen
from ccproxy_tui.screens.confirm import Confirm, QuitDialog
from ccproxy_tui.screens.inspector import InspectorScreen
from ccproxy_tui.screens.login import LoginDialog
from ccproxy_tui.screens.model_map import ModelMap
from ccproxy_tui.screens.split import SplitScreen
from ccproxy_tui.screens.streams import StreamsScreen
from ccproxy_tui.screens.ui.session import Ending
from ccproxy_tui.screens.widgets.live_list import LiveList
from tests.conftest import until
from tests.fakes.control import STATUS, FakeControl, FakeSource, live_row, make_row
from tests.screens.conftest import SIZES, Compare, busy_frame, make_app, screen_text

Wait = Pilot[str]


async def settle(pilot: Wait) -> None:
    await pilot.pause()
    await pilot.pause()


def streams(app: CCProxyApp) -> LiveList:  # type: ignore[type-arg]
    return app.query_one("#streams-list", LiveList) if isinstance(app.screen, StreamsScreen) else None  # type: ignore[return-value]


def text_frame(key: str) -> Frame:
    return Frame(
        2,
        texts=[
            TextFrame(
                key,
                [
                    Segment(0, "thinking", "The user wants the cause."),
                    Segment(1, "text", "I'll start with the failing test. "),
                    Segment(2, "tool", "", "Bash"),
                    Segment(2, "arguments", '{"command": "pytest -q"}'),
                ],
                reset=True,
            )
        ],
    )


async def test_streams_name_the_client_that_was_refused(app: CCProxyApp, control: FakeControl) -> None:
    async with app.run_test(size=(100, 24)) as pilot:
        words = "claude-code (pid 7): The proxy's token is missing \x1b[2J"
        control.push(Frame(2, status=msgspec.structs.replace(STATUS, refused=3, refusal=words)))
        await until(lambda: "3 refused, last: claude-code (pid 7): The" in screen_text(app))
        await settle(pilot)
        assert "\x1b[2J" not in screen_text(app)


# --- how they look ---


@pytest.mark.parametrize("size", SIZES)
async def test_streams_look_the_same(app: CCProxyApp, control: FakeControl, size: str, same_as: Compare) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        key = live_row(12).id
        control.push(text_frame(key))
        control.push(Frame(3, detail=control.details[key]))
        await until(lambda: app.session.mirror.detail is not None)
        await settle(pilot)
        same_as(app, f"streams-{size}")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tab", ["timeline", "text", "request", "response", "events", "convert"])
async def test_the_inspector_looks_the_same(
    app: CCProxyApp, control: FakeControl, size: str, tab: str, same_as: Compare
) -> None:
    control.bodies["request"] = (
        b'{"model":"claude","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}'
    )
    control.bodies["upstream_request"] = b'{"model":"gpt-5.4","input":[{"type":"message"}]}'
    control.bodies["response"] = b'event: ping\ndata: {"type":"ping"}\n\nevent: x\ndata: {"a":[1,2]}\n\n'
    key = live_row(12).id
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("enter")
        control.push(Frame(3, detail=control.details[key]))
        control.push(text_frame(key))
        await until(lambda: app.session.mirror.detail is not None and key in app.session.mirror.texts)
        screen = app.screen
        assert isinstance(screen, InspectorScreen)
        screen.action_open(tab)
        await settle(pilot)
        for worker in [
            worker for worker in app.workers if worker.group in ("request", "response", "events", "convert")
        ]:
            await worker.wait()
        await settle(pilot)
        same_as(app, f"inspector-{tab}-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_the_split_view_looks_the_same(control: FakeControl, size: str, same_as: Compare) -> None:
    rows = [live_row(number) for number in range(1, 5)]
    control = FakeControl(Frame(1, reset=True, status=STATUS, rows=rows))
    app = make_app(control)
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 4)
        await pilot.press("v")
        for row in rows:
            control.push(text_frame(row.id))
        await until(lambda: len(app.session.mirror.texts) == 4)
        await settle(pilot)
        same_as(app, f"split-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_logs_look_the_same(app: CCProxyApp, control: FakeControl, size: str, same_as: Compare) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("7")
        lines = [
            LogView(1, 1_800_000_000.0, "info", "ccproxy_tui.core.server.serve", "serving on 127.0.0.1:8000"),
            LogView(2, 1_800_000_001.0, "warning", "ccproxy_tui.settings", "server.prot: no such setting"),
            LogView(3, 1_800_000_002.0, "error", "x", "failed with \\x1b[2J", live_row(12).id),
            LogView(4, 1_800_000_003.0, "debug", "x", "not shown"),
        ]
        control.push(Frame(2, logs=lines))
        await until(lambda: len(app.session.mirror.logs) == 4)
        await settle(pilot)
        same_as(app, f"logs-{size}")


@pytest.mark.parametrize("size", ["mid", "narrow"])
async def test_the_line_under_the_cursor_is_shown_whole(app: CCProxyApp, control: FakeControl, size: str) -> None:
    message = "the provider claude could not be asked for its limits: upstream answered 503, asked again in 30 seconds"
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("7")
        lines = [
            LogView(1, 1_800_000_000.0, "info", "ccproxy_tui.core.accounts.limits", message),
            LogView(2, 1_800_000_001.0, "info", "x", "another"),
        ]
        control.push(Frame(2, logs=lines))
        await until(lambda: len(app.session.mirror.logs) == 2)
        await pilot.press("G")
        await until(lambda: "30 seconds" in screen_text(app))
        shown = " ".join(screen_text(app).replace("│", " ").split())
        assert f"core.accounts.limits {message}" in shown


ENTRIES = [
    {
        "key": key,
        "value": value,
        "default": "8000",
        "origin": origin,
        "kind": kind,
        "allowed": allowed,
        "live": True,
        "secret": False,
        "description": "What it is for.",
        "choices": choices,
    }
    for key, value, origin, kind, allowed, choices in [
        ("server.port", "8001", "env SERVER__PORT", "whole number", "0..65535", []),
        ("server.on_hangup", "keep", "default", "choice", "keep | stop", ["keep", "stop"]),
        ("ui.theme", "dark", "file config.toml:3", "text", "", []),
    ]
]


@pytest.mark.parametrize("size", SIZES)
async def test_accounts_look_the_same(app: CCProxyApp, control: FakeControl, size: str, same_as: Compare) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("3")
        await until(lambda: "auto-renewed" in screen_text(app))
        await settle(pilot)
        same_as(app, f"accounts-{size}")


@pytest.mark.parametrize("size", SIZES)
async def test_a_login_looks_the_same_and_takes_a_pasted_answer(
    app: CCProxyApp, control: FakeControl, size: str, same_as: Compare
) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("3")
        await until(lambda: "auto-renewed" in screen_text(app))
        await pilot.press("l")
        await until(lambda: isinstance(app.screen, LoginDialog))
        await settle(pilot)
        same_as(app, f"login-{size}")
        await pilot.press(*"the-code", "enter")
        await until(lambda: ("answer", "claude", "the-code") in control.calls)
        await until(lambda: not isinstance(app.screen, LoginDialog))
        assert ("cancel login", "claude") not in control.calls


async def test_an_account_is_renewed_and_a_refusal_is_shown(app: CCProxyApp, control: FakeControl) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("3")
        await until(lambda: "auto-renewed" in screen_text(app))
        await pilot.press("r")
        await until(lambda: ("renew", "claude") in control.calls)
        control.refusal = "The login was refused."
        await pilot.press("j", "r")
        await until(lambda: "The login was refused." in screen_text(app))
        await pilot.press("j", "j", "l")
        await until(lambda: isinstance(app.screen, LoginDialog))
        await pilot.press("escape")
        await until(lambda: ("cancel login", "codex") in control.calls)


async def test_every_key_of_the_accounts(app: CCProxyApp, control: FakeControl) -> None:
    control.entries = ENTRIES
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("3")
        await until(lambda: "auto-renewed" in screen_text(app))
        await pilot.press("t")
        await until(lambda: "the login works; used: 5h 41%" in screen_text(app))
        await pilot.press("b")
        await until(lambda: ("aside", "claude", True) in control.calls)
        await pilot.press("j")
        await until(lambda: "chmod 600" in screen_text(app))
        assert "3 requests (25%)" in screen_text(app)
        assert "extra usage (paid beyond the plan): on; plan only" in screen_text(app)
        await pilot.press("b")  # it rests: the same key lets it serve again
        await until(lambda: ("aside", "claude:work", False) in control.calls)
        await pilot.press("p")
        await until(lambda: ("set", "accounts.plan_only", None) in control.calls)
        await pilot.press("o")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.press("enter")
        assert ("log out", "claude:work") not in control.calls, "the safe answer is under the cursor"
        await pilot.press("o")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.press("right", "enter")
        await until(lambda: ("log out", "claude:work") in control.calls)


async def test_an_address_is_copied_and_shown_to_a_phone(app: CCProxyApp, control: FakeControl) -> None:
    async with app.run_test(size=(120, 50)) as pilot:
        await pilot.press("3")
        await until(lambda: "auto-renewed" in screen_text(app))
        await pilot.press("l")
        await until(lambda: isinstance(app.screen, LoginDialog))
        await pilot.press("ctrl+y")
        assert app.clipboard.startswith("https://claude.ai/oauth/authorize")
        await pilot.press("ctrl+r")
        await until(lambda: "▄▄▄▄▄▄▄" in screen_text(app) or "▀▀▀▀▀▀▀" in screen_text(app))
        await pilot.resize_terminal(60, 15)
        await until(lambda: "needs a terminal of" in screen_text(app))
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, LoginDialog))


async def test_an_alarm_is_said_once(app: CCProxyApp, control: FakeControl) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        full = AccountView("claude", "max", "ok", ok=True, alarm="5h window over 80 % used")
        for live in (1, 2):
            control.push(Frame(100 + live, status=msgspec.structs.replace(STATUS, total=40 + live, accounts=[full])))
            await until(lambda total=40 + live: app.session.mirror.status.total == total)  # type: ignore[misc]
        await settle(pilot)
        assert len([note for note in app._notifications if "5h window" in note.message]) == 1


async def test_warnings_of_the_proxy_are_said_once_and_stay_in_the_status_bar(
    app: CCProxyApp, control: FakeControl
) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        notices = ["a.toml: [b]nothing[/b] has the setting \x1b[2Jx", "the folder is missing"]
        for live in (1, 2):
            control.push(Frame(100 + live, status=msgspec.structs.replace(STATUS, total=40 + live, notices=notices)))
            await until(lambda total=40 + live: app.session.mirror.status.total == total)  # type: ignore[misc]
        await settle(pilot)
        [said] = [note.message for note in app._notifications]
        assert said == "2 warnings (7 Logs): a.toml: [b]nothing[/b] has the setting \\x1b[2Jx"
        assert "2 warnings (7 Logs)" in screen_text(app).splitlines()[0]


@pytest.mark.parametrize("size", SIZES)
async def test_pool_looks_the_same(app: CCProxyApp, control: FakeControl, size: str, same_as: Compare) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("4")
        await until(lambda: "refactor" in screen_text(app))
        await settle(pilot)
        assert "\x1b" not in screen_text(app)
        same_as(app, f"pool-{size}")


async def test_every_key_of_the_pool(app: CCProxyApp, control: FakeControl) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("4")
        await until(lambda: "refactor" in screen_text(app))
        await pilot.press("G")
        await pilot.press("i")
        await until(lambda: ("interrupt agent", 1) in control.calls)
        await pilot.press("x")
        await until(lambda: "This agent is busy" in screen_text(app))
        await pilot.press("escape")
        assert not any(call[0] == "end agent" for call in control.calls)
        await pilot.press("r")
        await until(lambda: "i to interrupt it" in screen_text(app))
        await pilot.press("k", "x")
        await until(lambda: ("end agent", 2, False) in control.calls)
        await pilot.press("r")
        await until(lambda: ("end agent", 2, True) in control.calls)
        await pilot.press("w")
        await until(lambda: ("warm",) in control.calls)
        await pilot.press("+")
        await until(lambda: ("set", "claude.sdk_pool.size", "4") in control.calls)
        await pilot.press("-")
        await until(lambda: ("set", "claude.sdk_pool.size", "2") in control.calls)
        await pilot.press("p")
        await until(lambda: ("set", "claude.sdk_pool.enabled", "false") in control.calls)
        control.refusal = "it does nothing"
        await pilot.press("i")
        await until(lambda: "it does nothing" in screen_text(app))


@pytest.mark.parametrize("size", SIZES)
async def test_codex_looks_the_same(app: CCProxyApp, control: FakeControl, size: str, same_as: Compare) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("5")
        await until(lambda: "captured from 0.168.0" in screen_text(app))
        await settle(pilot)
        same_as(app, f"codex-{size}")


async def test_every_key_of_codex(app: CCProxyApp, control: FakeControl) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("5")
        await until(lambda: "captured from 0.168.0" in screen_text(app))
        await pilot.press("v")
        await until(lambda: "Be brief." in screen_text(app) and "captured from" not in screen_text(app))
        await pilot.press("D")
        await until(lambda: "-Be long." in screen_text(app) and "+Be brief." in screen_text(app))
        await pilot.press("escape")
        await until(lambda: "captured from 0.168.0" in screen_text(app))
        await pilot.press("r")
        await until(lambda: ("detect", "codex") in control.calls)
        await pilot.press("m")
        await until(lambda: ("set", "codex.system_prompt_injection_mode", "override") in control.calls)
        await pilot.press("t")
        await until(lambda: "200 in 0.42 s: a whole answer" in screen_text(app))
        assert "authorization: [redacted]" in screen_text(app)
        await pilot.press("C")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.press("enter")
        assert ("clear", "codex") not in control.calls
        await pilot.press("C")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.press("right", "enter")
        await until(lambda: ("clear", "codex") in control.calls)
        await pilot.press("j")
        await until(lambda: "claude-cli/2.1.197" in screen_text(app))
        await pilot.press("D")
        await until(lambda: "No earlier capture" in screen_text(app))


@pytest.mark.parametrize("size", SIZES)
async def test_a_models_way_is_shown(app: CCProxyApp, control: FakeControl, size: str, same_as: Compare) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await pilot.press("8", "t")
        await until(lambda: ("models", "") in control.calls)
        await pilot.press(*"gpt-5")
        await until(lambda: ("models", "gpt-5") in control.calls)
        await settle(pilot)
        same_as(app, f"models-{size}")
        await pilot.press("escape")
        assert not isinstance(app.screen, ModelMap)


@pytest.mark.parametrize("size", SIZES)
async def test_settings_look_the_same(app: CCProxyApp, control: FakeControl, size: str, same_as: Compare) -> None:
    control.entries = ENTRIES
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("8")
        await until(lambda: "server.port" in screen_text(app))
        await settle(pilot)
        same_as(app, f"settings-{size}")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("key", "name"), [("w", "welcome"), ("question_mark", "help"), ("q", "quit"), ("y", "copy")])
async def test_dialogs_look_the_same(app: CCProxyApp, size: str, key: str, name: str, same_as: Compare) -> None:
    async with app.run_test(size=SIZES[size]) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press(key)
        await settle(pilot)
        same_as(app, f"{name}-{size}")


async def test_themes_of_textual_show_cards_too(control: FakeControl) -> None:
    app = make_app(control, theme="nord")
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("2")
        await until(lambda: "No pending approvals" in screen_text(app))
        assert app.theme == "nord"


@pytest.mark.parametrize("theme", ["light", "ansi", "mono"])
async def test_every_theme_shows_the_same_words(control: FakeControl, theme: str, same_as: Compare) -> None:
    app = make_app(control, theme=theme)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await settle(pilot)
        same_as(app, "streams-words")


@pytest.mark.parametrize("size", [(1, 1), (5, 2), (20, 5), (40, 10), (300, 100), (500, 200)])
async def test_no_size_breaks_anything(app: CCProxyApp, control: FakeControl, size: tuple[int, int]) -> None:
    async with app.run_test(size=size) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        for key in (
            "j",
            "enter",
            "2",
            "3",
            "5",
            "escape",
            "v",
            "escape",
            "7",
            "8",
            "1",
            "w",
            "escape",
            "question_mark",
        ):
            await pilot.press(key)
            await pilot.pause()
        assert app.is_running


async def test_resizing_keeps_the_selected_row(app: CCProxyApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("j", "j", "j")
        selected = streams(app).model.cursor_key
        for size in ((60, 15), (40, 10), (120, 36)):
            await pilot.resize_terminal(*size)
            await settle(pilot)
            assert streams(app).model.cursor_key == selected
            assert any(line.startswith((">", "│>")) for line in screen_text(app).splitlines())


# --- what the keys do ---


async def test_new_rows_appear_at_the_top_and_the_cursor_follows(app: CCProxyApp, control: FakeControl) -> None:
    async with app.run_test(size=(120, 36)):
        await until(lambda: len(app.session.mirror.rows) == 12)
        control.push(Frame(2, rows=[live_row(13)]))
        await until(lambda: streams(app).model.cursor_key == live_row(13).id)


async def test_space_pauses_and_new_rows_are_counted(app: CCProxyApp, control: FakeControl) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("space")
        control.push(Frame(2, rows=[live_row(13), live_row(14)]))
        await until(lambda: "2 new above" in screen_text(app))
        assert "paused" in screen_text(app)
        await pilot.press("space")
        await until(lambda: "following" in screen_text(app))
        assert streams(app).model.cursor == 0


async def test_the_filter_works_while_it_is_typed_and_says_what_is_wrong(app: CCProxyApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("slash", *"status:429")
        await settle(pilot)
        assert len(streams(app).model.order) == 1
        await pilot.press("enter", "slash", "space", *"nofield:1")
        await settle(pilot)
        assert "no field" in screen_text(app)
        await pilot.press("escape")
        await settle(pilot)
        assert len(streams(app).model.order) == 12


async def test_sorting_goes_round_and_is_said(app: CCProxyApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("s", "s")
        await settle(pilot)
        assert "by out" in screen_text(app)
        out = [app.session.mirror.rows[key].tokens_out for key in streams(app).model.order]
        assert out == sorted(out, reverse=True)


async def test_stopping_asks_first_with_the_focus_on_cancel(app: CCProxyApp, control: FakeControl) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("x")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.press("enter")
        await settle(pilot)
        assert ("stop", live_row(12).id) not in control.calls
        await pilot.press("x")
        await until(lambda: isinstance(app.screen, Confirm))
        await pilot.press("tab", "enter")
        await until(lambda: ("stop", live_row(12).id) in control.calls)


async def test_stopping_what_is_over_says_so(app: CCProxyApp, control: FakeControl) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("j", "x")
        await settle(pilot)
        assert "this request has ended" in screen_text(app)
        assert control.calls == []


async def test_a_row_that_ends_is_repainted_at_once(app: CCProxyApp, control: FakeControl) -> None:
    async with app.run_test(size=(80, 24)):
        await until(lambda: len(app.session.mirror.rows) == 12)
        control.push(Frame(2, rows=[make_row(12, state="529", status=529, end="upstream_error")]))
        await until(lambda: "529" in screen_text(app))


async def test_text_from_a_model_is_shown_literally(app: CCProxyApp, control: FakeControl) -> None:
    key = live_row(12).id
    evil = "[red]markup[/red] \x1b[2J\x1b]0;title\x07 \u202eabc [/oops]"
    async with app.run_test(size=(120, 36)):
        await until(lambda: len(app.session.mirror.rows) == 12)
        control.push(Frame(2, texts=[TextFrame(key, [Segment(0, "text", evil)], reset=True)]))
        await until(lambda: "[red]markup[/red] \\x1b[2J" in screen_text(app))
        assert "\x1b" not in screen_text(app)


async def test_headers_and_errors_from_outside_are_shown_literally(control: FakeControl) -> None:
    row = make_row(1, client="[b]x\x1b[31m", model="m\u202ex", error="\x1b[2J[bold]", state="ERR", end="cut")
    app = make_app(FakeControl(Frame(1, reset=True, status=STATUS, rows=[row])))
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 1)
        await settle(pilot)
        assert "[b]x\\x1b" in screen_text(app)
        assert "\x1b" not in screen_text(app)


async def test_the_inspector_opens_by_enter_finds_and_goes_back(app: CCProxyApp, control: FakeControl) -> None:
    control.bodies["request"] = b'{"messages":[{"content":"a needle"}]}'
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, InspectorScreen))
        control.push(Frame(3, detail=control.details[live_row(12).id]))
        await pilot.press("3")
        await until(lambda: '"messages"' in screen_text(app))
        await pilot.press("slash", *"needle", "enter")
        await until(lambda: "a needle" in screen_text(app))
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, StreamsScreen))
        assert app.session.watch.detail == live_row(12).id


async def test_the_split_view_takes_the_newest_live_streams_and_keeps_them(control: FakeControl) -> None:
    rows = [live_row(number) for number in range(1, 4)]
    control = FakeControl(Frame(1, reset=True, status=STATUS, rows=rows))
    app = make_app(control)
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 3)
        await pilot.press("v")
        screen = app.screen
        assert isinstance(screen, SplitScreen)
        await settle(pilot)
        keys = [pane.key for pane in screen.panes]
        assert keys == [rows[2].id, rows[1].id, rows[0].id, None]
        control.push(Frame(2, rows=[live_row(4), make_row(2), live_row(5)]))
        await until(lambda: screen.panes[3].key is not None)
        assert [pane.key for pane in screen.panes] == [rows[2].id, live_row(5).id, rows[0].id, live_row(4).id]
        assert set(app.session.watch.texts) == {pane.key for pane in screen.panes}
        await pilot.press("plus")
        await settle(pilot)
        assert len(screen.panes) == 5
        await pilot.press("z")
        await settle(pilot)
        assert sum(pane.display for pane in screen.panes) == 1


async def test_settings_are_edited_and_refusals_are_shown(app: CCProxyApp, control: FakeControl) -> None:
    control.entries = ENTRIES
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("8")
        await until(lambda: "server.port" in screen_text(app))
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press("backspace", "2", "enter")
        await until(lambda: ("set", "server.port", "8002") in control.calls)
        await until(lambda: "in effect now" in screen_text(app))
        await pilot.press("j", "enter")
        await until(lambda: ("set", "server.on_hangup", "stop") in control.calls)
        control.refusal = "must be smaller"
        await pilot.press("enter")
        await until(lambda: "must be smaller" in screen_text(app))
        await pilot.press("d")
        await settle(pilot)
        assert ("set", "server.on_hangup", None) not in control.calls


async def test_a_setting_that_waits_for_a_restart_shows_both_values(app: CCProxyApp, control: FakeControl) -> None:
    waits = {**ENTRIES[0], "value": "5", "origin": "default", "live": False, "pending": "9", "of_a_newer_proxy": 1}
    control.entries = [waits]
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("8")
        await until(lambda: "5 (9 after a restart)" in screen_text(app))
        assert "running 5, file 9: restart to apply" in screen_text(app)
        await pilot.press("d")
        await until(lambda: ("set", waits["key"], None) in control.calls)


async def test_values_of_settings_are_safe_for_the_terminal(app: CCProxyApp, control: FakeControl) -> None:
    """They come from files, also such as stand in a project folder; descriptions from another machine's proxy."""
    odd = "\x1b]0;title\x07\u202e"
    texts = {name: f"{name}{odd}" for name in ("value", "default", "origin", "description", "pending")}
    control.entries = [{**ENTRIES[0], **texts}]
    async with app.run_test(size=(220, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("8")
        await until(lambda: "origin" in screen_text(app))
        assert "file pending\\x1b]0;title\\x07\\u202e" in screen_text(app)
        assert not {"\x1b", "\x07", "\u202e"} & set(screen_text(app))
        await pilot.press("enter")
        await settle(pilot)
        assert "enter save" in screen_text(app)
        assert not {"\x1b", "\x07", "\u202e"} & set(screen_text(app))


async def test_settings_of_the_screens_are_kept_by_this_terminal(control: FakeControl) -> None:
    """Over ssh, the proxy's settings file lies on another machine."""
    control.entries = ENTRIES
    app = make_app(control, theme=None)
    file = app.settings.loaded.write_to
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("8")
        await until(lambda: "ui.theme" in screen_text(app))
        assert screen_text(app).count("ui.theme") == 1
        await pilot.press("slash", *"ui.theme", "enter")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press(*["backspace"] * 4, *"light", "enter")
        await until(lambda: app.theme.endswith("light"))
        assert 'theme = "light"' in file.read_text()
        assert app.ui.theme == "light"
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press(*"er", "enter")
        await until(lambda: "Unknown theme" in screen_text(app))
        assert not [call for call in control.calls if call[0] == "set"]


async def test_quitting_asks_and_cancel_is_the_first_answer(app: CCProxyApp) -> None:
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("q")
        await until(lambda: isinstance(app.screen, QuitDialog))
        await pilot.press("enter")
        await settle(pilot)
        assert app.is_running
        await pilot.press("q")
        await until(lambda: isinstance(app.screen, QuitDialog))
        await pilot.press("right", "right", "enter")
        await until(lambda: app.return_value is not None)
        assert app.return_value == "leave"


async def test_an_attached_screen_quits_without_touching_the_proxy(control: FakeControl) -> None:
    app = make_app(control, owned=False)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("q")
        await until(lambda: app.return_value is not None)
        assert app.return_value == "leave"


async def test_a_lost_proxy_is_said_and_the_screens_stay(control: FakeControl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccproxy_tui.screens.ui.session.BACKOFF_FIRST", 0.01)
    status = msgspec.structs.replace(STATUS, pid=4243)
    again = FakeControl(Frame(1, reset=True, status=status, rows=[make_row(77)]))
    app = make_app(control)
    source = app.session.source
    assert isinstance(source, FakeSource)
    source.controls.append(again)
    async with app.run_test(size=(80, 24)):
        await until(lambda: len(app.session.mirror.rows) == 12)
        control.lose()
        await until(lambda: "SIGKILL" in screen_text(app))
        await until(lambda: list(app.session.mirror.rows) == [make_row(77).id])
        await until(lambda: "12 earlier requests are gone" in screen_text(app))


@pytest.mark.parametrize("gone", [True, False])
async def test_quitting_asks_about_a_lost_proxy_that_may_live(
    control: FakeControl, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    monkeypatch.setattr("ccproxy_tui.screens.ui.session.BACKOFF_FIRST", 60)
    app = make_app(control)
    source = app.session.source
    assert isinstance(source, FakeSource)
    source.how_it_ends = Ending("it is lost", gone=gone)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        control.lose()
        await until(lambda: app.session.state == "lost")
        await pilot.press("q")
        await until(lambda: app.return_value == "stop" if gone else isinstance(app.screen, QuitDialog))


async def test_a_notice_goes_when_it_is_no_news(app: CCProxyApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ccproxy_tui.app.NOTICE_SECONDS", 0.2)
    async with app.run_test(size=(80, 24)):
        await until(lambda: len(app.session.mirror.rows) == 12)
        app.say("copied the id")
        await until(lambda: "last: copied the id" in screen_text(app))
        await until(lambda: "last:" not in screen_text(app))


async def test_keys_can_be_mapped_anew(control: FakeControl) -> None:
    app = make_app(control, keys={"app.help": "f2"})
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("question_mark")
        await settle(pilot)
        assert "help:" not in screen_text(app)
        await pilot.press("f2")
        await settle(pilot)
        assert "help:" in screen_text(app)


async def test_the_palette_lists_screens_and_actions(app: CCProxyApp) -> None:
    async with app.run_test(size=(120, 36)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await pilot.press("colon")
        await until(lambda: "view: Streams" in screen_text(app))
        await pilot.press(*"theme: mono")
        await until(lambda: "theme: mono" in screen_text(app))
        await pilot.press("down", "enter")
        await until(lambda: app.theme == "mono")


async def test_every_key_has_an_id_that_is_used_once(app: CCProxyApp) -> None:
    from ccproxy_tui.screens import confirm, copy_menu, inspector, logs, settings, split, streams, welcome
    from ccproxy_tui.screens import help as help_screen
    from ccproxy_tui.screens.widgets import filter_bar, json_view, line_view, live_list, stream_text

    modules = (confirm, copy_menu, help_screen, inspector, logs, settings, split, streams, welcome)
    modules += (filter_bar, json_view, line_view, live_list, stream_text)
    ids = []
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, type) and value.__module__ == module.__name__ and "BINDINGS" in vars(value):
                bindings = vars(value)["BINDINGS"]
                assert all(binding.id for binding in bindings), value
                ids += [binding.id for binding in bindings]
    assert len(ids) == len(set(ids))
    assert len(ids) > 50


async def test_tab_sort_and_filter_are_as_they_were_left(control: FakeControl) -> None:
    first = make_app(control, remember=True)
    async with first.run_test(size=(120, 36)) as pilot:
        await pilot.press("escape")  # the welcome of a first run
        await until(lambda: len(first.session.mirror.rows) == 12)
        await pilot.press("s", "slash", *"aider", "enter", "3")
        await settle(pilot)
    again = make_app(FakeControl(busy_frame()), remember=True)
    async with again.run_test(size=(120, 36)) as pilot:
        await until(lambda: isinstance(again.screen, AccountsScreen))
        await pilot.press("1")
        await until(lambda: len(again.session.mirror.rows) == 12)
        await settle(pilot)
        title = screen_text(again)
        assert "filter: aider" in title
        assert "by " in title


async def test_a_remembered_filter_that_no_longer_fits_is_forgotten(control: FakeControl) -> None:
    state = Paths.of_user().state / "screens.json"
    state.parent.mkdir(parents=True)
    state.write_text('{"welcomed": true, "filter": "nonsense:>", "sort": "sideways", "tab": "gone"}')
    app = make_app(control, remember=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: len(app.session.mirror.rows) == 12)
        await settle(pilot)
        assert "filter" not in screen_text(app).splitlines()[2]


async def test_a_demo_begins_with_its_streams_and_keeps_a_state_of_its_own(control: FakeControl) -> None:
    state = Paths.of_user().state
    state.mkdir(parents=True)
    for name in ("screens.json", "demo-screens.json"):
        (state / name).write_text('{"tab": "accounts", "filter": "aider", "theme": "light"}')
    app = make_app(control, remember=True, is_demo=True)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: isinstance(app.screen, StreamsScreen) and len(app.session.mirror.rows) == 12)
        await settle(pilot)
        assert "filter" not in screen_text(app).splitlines()[2]
        app.open_tab("logs")
    await until(lambda: '"tab":"logs"' in (state / "demo-screens.json").read_text())
    assert '"accounts"' in (state / "screens.json").read_text()
