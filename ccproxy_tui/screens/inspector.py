"""The inspector: everything about one exchange, in tabs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

import msgspec
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget
from textual.widgets import ContentSwitcher

from ccproxy_tui.core.control.frames import BodyPart, Detail, Watch
from ccproxy_tui.core.control.protocol import ControlError
from ccproxy_tui.core.system.ids import short_id
from ccproxy_tui.core.text import sse
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.base import NARROW, BaseScreen
from ccproxy_tui.screens.confirm import Confirm
from ccproxy_tui.screens.copy_menu import CopyMenu
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.convert_view import diff_lines, note_lines
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.ui.row_view import route, short_model
from ccproxy_tui.screens.widgets.bars import Bar, TabLine
from ccproxy_tui.screens.widgets.detail_view import DetailView
from ccproxy_tui.screens.widgets.filter_bar import FilterBar
from ccproxy_tui.screens.widgets.json_view import JsonView
from ccproxy_tui.screens.widgets.stream_text import StreamText

TABS = (
    ("timeline", "Timeline"),
    ("text", "Text"),
    ("request", "Request"),
    ("response", "Response"),
    ("events", "Events"),
    ("convert", "Convert"),
)
BODY_LIMIT = 4 * 1024 * 1024
MAX_EVENTS = 5000


class InspectorScreen(BaseScreen):
    """One exchange. Bodies are fetched when their tab is opened, and again when they have grown."""

    TAB = "streams"
    HELP = (
        "Timeline: each step with its time. Text: the response as it streams. Request and Response: headers and body "
        "as a folding tree, secrets masked, images by type and size. Events: the stream's events with their offsets. "
        "Convert: what was dropped, renamed or added between two dialects, and both bodies compared."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "app.pop_screen", "back", id="inspector.back"),
        Binding("right_square_bracket", "tab(1)", "next tab", id="inspector.next", show=False),
        Binding("left_square_bracket", "tab(-1)", "previous tab", id="inspector.previous", show=False),
        *(
            Binding(str(number), f"open('{name}')", title, id=f"inspector.{name}", show=False)
            for number, (name, title) in enumerate(TABS, 1)
        ),
        Binding("slash", "find", "find", id="inspector.find"),
        Binding("n", "find_next(1)", "next match", id="inspector.find_next", show=False),
        Binding("N", "find_next(-1)", "previous match", id="inspector.find_previous", show=False),
        Binding("y", "copy", "copy", id="inspector.copy"),
        Binding("x", "stop", "stop", id="inspector.stop"),
        Binding("r", "reload", "read again", id="inspector.reload", show=False),
    ]

    def __init__(self, exchange: str) -> None:
        super().__init__()
        self.exchange = exchange
        self.tab = "timeline"
        self._loaded: dict[str, int] = {}  # tab -> size of what it shows
        self._last_detail: Detail | None = None
        self._needle = ""

    def fresh(self) -> InspectorScreen:
        return InspectorScreen(self.exchange)

    def compose_body(self) -> Iterable[Widget]:
        yield Bar(id="inspector-head")
        yield TabLine(id="inspector-tabs")
        yield InspectorBody(classes="box")

    @property
    def detail(self) -> Detail | None:
        """The latest; the last one that there was once the proxy keeps this exchange no longer."""
        detail = self.mirror.detail
        if detail is not None and detail.row.id == self.exchange:
            self._last_detail = detail
        return self._last_detail

    @property
    def is_kept(self) -> bool:
        """Whether the proxy still has the exchange: the store lets go of old ones, and a new proxy begins empty."""
        detail = self.mirror.detail
        return detail is not None and detail.row.id == self.exchange

    def on_mount(self) -> None:
        super().on_mount()
        self.action_open(self.tab)

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._heads)
        if self.tab == "convert":
            self.call_after_refresh(self._load, "convert")

    def watching(self) -> Watch:
        return Watch(texts=[self.exchange] if self.tab == "text" else [], detail=self.exchange)

    def take(self, changes: Changes) -> None:
        if changes.texts or changes.reset:
            self.query_one("#text", StreamText).follow(self.mirror.texts.get(self.exchange))
        if changes.detail or changes.reset:
            self._heads()
            self.refresh_keys()
            self.query_one("#timeline", DetailView).show(self.detail, timeline_first=True)
            self._load_if_grown()

    def _heads(self) -> None:
        detail = self.detail
        if not self.is_alive:
            return
        head = f" {short_id(self.exchange)}"
        if detail is not None:
            row = detail.row
            state = row.state if self.is_kept else "lost" if row.live else f"{row.state} (no longer kept)"
            head += f"  {row.client} {route(row)}  {short_model(row.model)}  {state}"
            head += (
                f"  ttft {words.seconds(row.ttft)}  {words.rate(row.rate)} tok/s  {words.tokens(row.tokens_out)} out"
            )
        self.query_one("#inspector-head", Bar).say([(escape_line(head), "strong")])
        short = self.size.width < NARROW
        tabs = [
            (name, str(number), title[:4] if short and name != self.tab else title)
            for number, (name, title) in enumerate(TABS, 1)
        ]
        self.query_one("#inspector-tabs", TabLine).show(tabs, self.tab, "[ ] tab")

    # --- tabs ---

    def action_open(self, name: str) -> None:
        self.tab = name
        switcher = self.query_one(ContentSwitcher)
        switcher.current = name
        widget = switcher.get_child_by_id(name)
        widget.focus()
        self._heads()
        self.watch_anew()
        self._load(name)

    def action_tab(self, step: int) -> None:
        names = [name for name, _ in TABS]
        self.action_open(names[(names.index(self.tab) + step) % len(names)])

    def on_tab_line_picked(self, event: TabLine.Picked) -> None:
        if event.name in {name for name, _ in TABS}:
            event.stop()
            self.action_open(event.name)
        else:
            super().on_tab_line_picked(event)

    def action_reload(self) -> None:
        self._loaded.clear()
        self._load(self.tab)

    def _load_if_grown(self) -> None:
        """A body that is on screen is read again when its exchange has ended meanwhile."""
        detail = self.detail
        if detail is not None and not detail.row.live and self._loaded.get(self.tab, -1) != _size(detail, self.tab):
            self._load(self.tab)

    def _load(self, name: str) -> None:
        if name == "convert":
            self.background(self._compare, group=name)
        elif name in ("request", "response", "events"):
            self.background(partial(self._fetch, name), group=name)

    async def _compare(self) -> None:
        view = self.query_one("#convert", DetailView)
        try:
            detail = self.detail or await self.control.detail(self.exchange)
            lines = note_lines(detail.notes, detail.row.dialect, detail.upstream_format)
            if not detail.bodies["upstream_request"].same:
                sent = await self.control.body(self.exchange, "request", 0, BODY_LIMIT)
                asked = await self.control.body(self.exchange, "upstream_request", 0, BODY_LIMIT)
                lines += await asyncio.to_thread(diff_lines, sent, asked, self.size.width - 2)
        except ControlError as error:
            lines = [(str(error), "error")]
        else:
            self._loaded["convert"] = _size(detail, "convert")
        view.show_lines(lines)

    async def _fetch(self, name: str) -> None:
        view = self.query_one(f"#{name}", JsonView)
        try:
            detail = self.detail or await self.control.detail(self.exchange)
            part: BodyPart = "request" if name == "request" else "response"
            body = await self.control.body(self.exchange, part, 0, BODY_LIMIT)
        except ControlError as error:
            view.clear(str(error))
            return
        self._loaded[name] = _size(detail, name)
        if name == "events":
            events = event_list(body)
            view.show(events) if events else view.clear("the answer is not an event stream")
        else:
            view.show(message_value(detail, name, body))

    # --- verbs ---

    def action_find(self) -> None:
        self.query_one(FilterBar).open(self._needle, "find in this tab", selected=True)

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        self._needle = event.text

    def on_filter_bar_closed(self) -> None:
        self.query_one(ContentSwitcher).get_child_by_id(self.tab).focus()
        self.action_find_next(1)

    def action_find_next(self, step: int) -> None:
        view = self.query_one(ContentSwitcher).get_child_by_id(self.tab)
        if not self._needle:
            return
        if not isinstance(view, JsonView):
            self.proxy_app.say("Find works in Request, Response and Events", "warning")
        elif not view.find(self._needle, step):
            self.proxy_app.say(f"Not found: {self._needle}", "warning")

    def action_copy(self) -> None:
        self.app.push_screen(CopyMenu(self.exchange))

    def action_stop(self) -> None:
        if not self._can_stop:
            self.proxy_app.say("Nothing to stop: this request has ended", "warning")
            return
        self.background(self._stop)

    @property
    def _can_stop(self) -> bool:
        return self.is_kept and (detail := self.detail) is not None and detail.row.live

    async def _stop(self) -> None:
        if await self.app.push_screen_wait(Confirm("Stop this exchange? The client gets an error.", "Stop it")):
            try:
                await self.control.stop_exchange(self.exchange)
            except ControlError as error:
                self.proxy_app.say(str(error), "error")

    def keys(self) -> Sequence[tuple[str, str]]:
        fold = (("enter", "fold"), ("h/l", "fold all")) if isinstance(self.focused, JsonView) else ()
        stop = (("x", "stop"),) if self._can_stop else ()
        return (("esc", "back"), ("[ ]", "tab"), *fold, ("/", "find"), ("y", "copy"), *stop, ("?", "help"))


class InspectorBody(Vertical):
    def compose(self) -> ComposeResult:
        yield FilterBar()
        with ContentSwitcher(initial="timeline"):
            yield DetailView(id="timeline", empty="reading…")
            yield StreamText(id="text")
            yield JsonView(id="request", empty="reading…")
            yield JsonView(id="response", empty="reading…")
            yield JsonView(id="events", empty="reading…")
            yield DetailView(id="convert", empty="reading…")


def _size(detail: Detail, name: str) -> int:
    bodies = detail.bodies
    if name == "convert":
        return len(detail.notes)
    if name == "request":
        return bodies["request"].kept
    return (bodies["upstream_response"] if bodies["response"].same else bodies["response"]).kept


def message_value(detail: Detail, name: str, body: bytes) -> dict[str, Any]:
    """One side of the exchange as a value for the tree: headers and body."""
    if name == "request":
        return {
            "line": f"{detail.method} {detail.path}{'?' + detail.query if detail.query else ''}",
            "headers": dict(detail.request_headers),
            "sent upstream": {
                "line": f"{detail.upstream_method} {detail.upstream_url}",
                "headers": dict(detail.upstream_request_headers),
            },
            "body": _body_value(body, detail.bodies["request"].size),
        }
    info = detail.bodies["upstream_response"] if detail.bodies["response"].same else detail.bodies["response"]
    return {
        "status": detail.row.status or detail.upstream_status,
        "headers": dict(detail.response_headers),
        "body": _body_value(body, info.size),
    }


def _body_value(body: bytes, size: int) -> Any:
    """JSON as a value, an event stream as the list of its events' data, anything else as text."""
    if not body:
        return "no longer kept" if size else ""
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    events = event_list(body)
    if events:
        return [event["data"] for event in events]
    return body.decode("utf-8", "replace")


def event_list(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream: offset, name and data. Empty when it is none."""
    if not body.lstrip().startswith((b"event:", b"data:", b":", b"id:")):
        return []
    events: list[dict[str, Any]] = []
    decoder = sse.Decoder()
    offset = 0
    for block in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        events += [
            {"at": offset, "event": event.name or "message", "data": _decoded(event.data)}
            for event in decoder.feed(block + b"\n\n")
        ]
        offset += len(block) + 2
        if len(events) >= MAX_EVENTS:
            break
    return events


def _decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return data.decode("utf-8", "replace")
