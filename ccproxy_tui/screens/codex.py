"""Codex: what the installed tools were seen to send, how their instructions are used, the models, and a test."""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import ClassVar, Literal

from rich.cells import chop_cells
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget

from ccproxy_tui.core.control.frames import CodexView, DetectionView, TestResult, Watch
from ccproxy_tui.core.text.escape import escape_block, escape_line
from ccproxy_tui.screens.base import NARROW, WIDE, BaseScreen
from ccproxy_tui.screens.confirm import Confirm
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.widgets.detail_view import DetailView, Line
from ccproxy_tui.screens.widgets.live_list import Column, LiveList

Part = Literal["summary", "instructions", "difference", "test"]

_MODES = ("disabled", "append", "override")
_SETTING = "codex.system_prompt_injection_mode"


class CodexScreen(BaseScreen):
    """Read from the proxy when it opens, and after each verb."""

    READS = True
    TAB = "codex"
    HELP = (
        "What the installed Codex and Claude tools send, captured by running them against a local server: no request "
        "leaves this machine and no cost arises. r captures again, v shows the instructions, D compares them with the "
        "previous capture, C deletes the captures, m changes how the instructions are used for other clients "
        "(disabled, append, override), t sends a small request to the Codex backend and shows the result."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "detect", "detect again", id="codex.detect"),
        Binding("v", "show('instructions')", "view instructions", id="codex.view"),
        Binding("D", "show('difference')", "compare", id="codex.compare"),
        Binding("C", "clear", "delete captures", id="codex.clear"),
        Binding("m", "mode", "mode", id="codex.mode"),
        Binding("t", "test", "test", id="codex.test"),
        Binding("escape", "show('summary')", "summary", id="codex.summary", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._detections: dict[str, DetectionView] = {}
        self._codex: CodexView | None = None
        self._result: TestResult | None = None
        self._part: Part = "summary"

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="codex-box", classes="box"):
            yield LiveList[DetectionView]([], id="codex-list", empty=("", "Tool detection is off"))
        with Vertical(id="codex-detail-box", classes="box"):
            yield DetailView(id="codex-detail", empty="")

    @property
    def list(self) -> LiveList[DetectionView]:
        return self.query_one("#codex-list", LiveList)

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#codex-box").border_title = "installed tools"
        self._lay_out()
        self.list.set_items(self._detections)
        self.list.set_order(lambda view: view.tool, reverse=True, keep=lambda _: True)
        self.list.focus()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self._reload()

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._lay_out)
        self.call_after_refresh(self._show)  # texts are wrapped at the width

    def _lay_out(self) -> None:
        tool = Column[DetectionView]("tool", "tool", 8, lambda one: one.tool)
        version = Column[DetectionView]("version", "installed", 12, lambda one: one.version or "-")
        size = Column[DetectionView](
            "size", "instructions", 14, lambda one: f"{len(one.instructions):,}" if one.captured else "-", right=True
        )
        state = Column[DetectionView](
            "state", "state", 0, lambda one: one.state, style=lambda one: "error" if one.problem else "live"
        )
        width = self.size.width
        columns = [tool, version, size, state] if width >= WIDE else [tool, version, state]
        self.list.set_columns(columns if width >= NARROW else [tool, state])

    def watching(self) -> Watch:
        return Watch(rows=False)

    def take(self, changes: Changes) -> None:
        if changes.reset:
            self._reload()

    def _reload(self) -> None:
        self.read_again(self._load)

    async def _load(self) -> None:
        views = await self.fetch(lambda: self.control.detections())
        self._codex = await self.fetch(lambda: self.control.codex())
        if views is None:
            return
        self._detections.clear()
        self._detections.update({view.tool: view for view in views})
        self.list.rebuild()
        self._show()

    def _show(self) -> None:
        view = self.list.selected
        if view is None:
            return
        match self._part:
            case "instructions":
                lines: list[Line] = [(line, "") for line in escape_block(view.instructions).expandtabs(4).split("\n")]
            case "difference":
                lines = difference_lines(view)
            case "test" if self._result is not None:
                lines = test_lines(self._result)
            case _:
                lines = summary_lines(view, self._codex)
        detail = self.query_one("#codex-detail", DetailView)
        detail.show_lines(wrapped(lines, detail.size.width))
        detail.scroll_home(animate=False)
        title = {"summary": "", "instructions": "instructions", "difference": "difference", "test": "test"}[self._part]
        self.query_one("#codex-detail-box").border_title = f"{view.tool} {title}".strip()

    def on_live_list_moved(self, event: LiveList.Moved) -> None:
        if self._part == "test":
            self._part = "summary"
        self._show()

    def on_live_list_opened(self, event: LiveList.Opened) -> None:
        self.action_show("instructions")

    def action_show(self, part: Part) -> None:
        """The same key again goes back to the summary."""
        self._part = "summary" if part == self._part else part
        self._show()

    # --- verbs ---

    def action_detect(self) -> None:
        self._do(self._detect)

    async def _detect(self, view: DetectionView) -> str:
        self.proxy_app.say(f"{view.tool}: capturing what it sends")
        found = await self.control.refresh_detection(view.tool)
        return found.problem or f"{found.captured_version} {found.state}"

    def action_clear(self) -> None:
        self._do(self._clear)

    async def _clear(self, view: DetectionView) -> str:
        question = f"Delete all captures of {view.tool}? The next detection makes a new one."
        if not await self.app.push_screen_wait(Confirm(question, "Delete")):
            return ""
        return f"{await self.control.clear_detection(view.tool)} files deleted"

    def action_mode(self) -> None:
        self._do(self._next_mode)

    async def _next_mode(self, _: DetectionView) -> str:
        now = self._codex.mode if self._codex is not None else _MODES[0]
        wanted = _MODES[(_MODES.index(now) + 1) % len(_MODES)] if now in _MODES else _MODES[0]
        return f"instructions {wanted}: {await self.control.change_setting(_SETTING, wanted)}"

    def action_test(self) -> None:
        self._do(self._test)

    async def _test(self, _: DetectionView) -> str:
        self.proxy_app.say("codex: sending a small test request")
        self._result = await self.control.test_codex()
        self._part = "test"
        return f"the backend answered {self._result.status}: {self._result.answer}"

    def _do(self, verb: Callable[[DetectionView], Awaitable[str]]) -> None:
        if (view := self.list.selected) is not None:
            self.carry_out(view.tool, partial(verb, view))

    async def carried_out(self) -> None:
        await self._load()

    def keys(self) -> Sequence[tuple[str, str]]:
        return (
            ("?", "help"),
            ("r", "detect"),
            ("v", "view"),
            ("D", "compare"),
            ("m", "mode"),
            ("t", "test"),
            ("C", "forget"),
            ("q", "quit"),
        )


def summary_lines(view: DetectionView, codex: CodexView | None) -> list[Line]:
    """One tool in words: what was captured and when, its headers; for Codex the mode and the models too."""
    lines: list[Line] = [(f"{view.tool} {view.version or 'not found'}  {view.state}", "strong")]
    if view.problem:
        lines.append((f"last problem: {view.problem}", "error"))
    if view.captured is not None:
        when = words.moment(view.captured)
        lines.append((f"captured from {view.captured_version} on {when}, with model {view.model}", ""))
        size = f"{len(view.instructions):,} characters, {view.digest}, as {view.shape}"
        changed = f", differs from {view.before_version}" if view.before_version else ""
        lines.append((f"instructions: {size}{changed}", ""))
        lines.append((f"saved in {view.file}", "dim"))
    if view.tool == "codex" and codex is not None:
        lines += _codex_lines(codex)
    lines += [(f"{name}: {value or '(left out)'}", "dim") for name, value in view.headers]
    return [(escape_line(text), style) for text, style in lines]


def _codex_lines(codex: CodexView) -> list[Line]:
    age = f" (fetched {words.moment(codex.models_at)})" if codex.models_at is not None else ""
    lines: list[Line] = [
        (f"instructions for other clients: {codex.mode} (shape {codex.shape})", "strong"),
        (f"backend {codex.base_url}", ""),
        (f"{len(codex.models)} models from {codex.models_from}{age}", ""),
    ]
    for one in codex.models:
        efforts = f"  effort {', '.join(one.efforts)}" if one.efforts else ""
        limits = f"context {words.tokens(one.context)}  output {words.tokens(one.output)}"
        lines.append((f"  {one.id:<22} {limits}{efforts}", ""))
    return lines


def wrapped(lines: Sequence[Line], width: int) -> list[Line]:
    """No line wider than `width`, so that nothing of it is cut."""
    return [
        (piece, style) for text, style in lines for piece in (chop_cells(text, width) if width > 0 and text else [text])
    ]


def difference_lines(view: DetectionView) -> list[Line]:
    """The instructions against those of the capture before."""
    if not view.before_version:
        return [("No earlier capture differs from this one.", "dim")]
    old, new = (escape_block(text).expandtabs(4).split("\n") for text in (view.before, view.instructions))
    found = difflib.unified_diff(old, new, view.before_version, view.captured_version, lineterm="", n=2)
    styles = {"+": "added", "-": "removed", "@": "dim"}
    return [(line, styles.get(line[:1], "")) for line in found]


def test_lines(result: TestResult) -> list[Line]:
    """A connectivity test: the answer, then the request as it went out."""
    good = result.status == 200
    lines: list[Line] = [
        (f"{result.status} in {result.seconds:.2f} s: {result.answer}", "added" if good else "error"),
        (f"{result.method} {result.url}", "strong"),
    ]
    lines += [(f"{name}: {value}", "dim") for name, value in result.headers]
    lines.append((result.body, ""))
    return [(escape_line(text), style) for text, style in lines]
