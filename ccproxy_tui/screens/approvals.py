"""Approvals: the questions of every agent, oldest first, and the card that answers one.

Keys answer only while the card has the focus, a moment after it was painted, and never by Enter, space, y or a digit.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widget import Widget

from ccproxy_tui.core.control.frames import AskView, Watch
from ccproxy_tui.core.control.protocol import ControlError
from ccproxy_tui.core.permissions.sources import TAKES_NO_EDIT
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.answers import EditDialog, MessageDialog
from ccproxy_tui.screens.base import NARROW, WIDE, BaseScreen
from ccproxy_tui.screens.history import HistoryDialog
from ccproxy_tui.screens.rules import RuleDialog, RulesDialog
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.card_guard import CardGuard
from ccproxy_tui.screens.ui.card_view import body_lines, head_lines, headline
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.ui.pieces import PieceLine
from ccproxy_tui.screens.widgets.bars import KeyLine
from ccproxy_tui.screens.widgets.live_list import Column, LiveList
from ccproxy_tui.screens.widgets.permission_card import PermissionCard, Verb
from ccproxy_tui.screens.widgets.time_left import Waiting

MORE_SECONDS = 120.0
TOLD_SECONDS = 2.0


class ApprovalsScreen(BaseScreen):
    TAB = "approvals"
    HELP = (
        "Permission requests that wait for your decision. The card shows everything that would run or be written; "
        "check its notes. With the card focused (ctrl+g or !): a allows, d denies, D denies with a message to the "
        "model, i denies and stops the agent, e edits the input and shows the changes first, A adds a rule, x gives "
        "more time, v shows a masked credential of yours. A new card ignores keys for a moment, and while keys are "
        "held; a high-risk request needs a twice; a card that does not fit must be scrolled to its end first. o opens "
        "the stream of the request, R lists the rules with their hits, H lists earlier decisions."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "step(1)", "next", id="approvals.next"),
        Binding("p", "step(-1)", "previous", id="approvals.previous"),
        Binding("R", "rules", "rules", id="approvals.rules"),
        Binding("H", "history", "history", id="approvals.history"),
        Binding("o", "open_stream", "open its stream", id="approvals.open"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._asks: dict[str, AskView] = {}
        self._chosen = ""
        self._told = float("-inf")  # when a key was last explained
        self._answered: set[str] = set()  # from here
        self._revealed: dict[str, AskView] = {}  # with their credentials, as long as this screen shows them
        self._body: tuple[AskView, int, Sequence[PieceLine]] | None = None
        self._unseen = 0  # lines of the card below the screen, as the keys tell them
        self.guard = CardGuard()

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="asks-box", classes="box"):
            yield LiveList[AskView]([], id="asks-list", empty=("", "No permission requests yet"))
        with Vertical(id="card-box", classes="box"):
            yield PermissionCard(self.guard, self.now, self.answer)

    @property
    def list(self) -> LiveList[AskView]:
        return self.query_one("#asks-list", LiveList)

    @property
    def card(self) -> PermissionCard:
        return self.query_one(PermissionCard)

    def now(self) -> float:
        return self.proxy_app.clock.monotonic()

    def on_mount(self) -> None:
        super().on_mount()
        self.query_one("#asks-box").border_title = "approvals"
        self._lay_out()
        self.list.set_items(self._asks)
        self.list.set_order(_place, reverse=True, keep=lambda _: True)
        self.set_interval(1.0, self._count_down)
        self.card.focus()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        chosen = self._asks.get(self._chosen)
        if chosen is None or chosen.status != "pending":
            self._chosen = ""  # whoever comes here wants what waits
        self._reload()
        self.card.focus()

    def show_waiting(self) -> None:
        """Show the oldest request that waits, unless the card shows one that does."""
        if self._pending and self._chosen not in {ask.id for ask in self._pending}:
            self._choose(self._pending[0])
        self.card.focus()

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._lay_out)

    def on_permission_card_moved(self) -> None:
        self._show()

    def _lay_out(self) -> None:
        state = Column[AskView](
            "state", "state", 10, lambda ask: ask.status, style=lambda ask: "error" if ask.status == "pending" else ""
        )
        tool = Column[AskView]("tool", "tool", 14, lambda ask: escape_line(ask.tool))
        what = Column[AskView]("what", "what", 0, headline)
        client = Column[AskView]("client", "client", 14, lambda ask: escape_line(ask.client or ask.source))
        by = Column[AskView]("by", "by", 10, lambda ask: escape_line(ask.by))
        width = self.size.width
        columns = [state, tool, client, what, by] if width >= WIDE else [state, tool, what]
        self.list.set_columns(columns if width >= NARROW else [state, what])

    def watching(self) -> Watch:
        return Watch(rows=False)

    def take(self, changes: Changes) -> None:
        if changes.asks or changes.reset:
            self._reload()

    def _reload(self) -> None:
        self._asks.clear()
        self._asks.update({ask.id: ask for ask in self.mirror.asks})
        self._revealed = {name: ask for name, ask in self._revealed.items() if self._is_shown_so(ask)}
        self._asks.update(self._revealed)
        self.list.rebuild()
        if self._is_free:
            self._chosen = next((ask.id for ask in self._pending), self._chosen)
        self._show()

    def _is_shown_so(self, ask: AskView) -> bool:
        """Whether a card is still the one that was revealed."""
        now = self._asks.get(ask.id)
        if now is None or (now.status, now.looks) != (ask.status, ask.looks):
            return False
        return abs(now.expires - ask.expires) < 1  # reckoned for each view; more time makes it another one

    @property
    def _is_free(self) -> bool:
        """Whether the card may show another question: not one that has just ended under the person's finger."""
        chosen = self._asks.get(self._chosen)
        return chosen is None or (chosen.status != "pending" and chosen.id in self._answered)

    @property
    def _pending(self) -> Sequence[AskView]:
        return sorted((ask for ask in self._asks.values() if ask.status == "pending"), key=lambda ask: ask.created)

    def _count_down(self) -> None:
        ask = self._asks.get(self._chosen)
        if self.is_current and ask is not None and ask.status == "pending":
            self._show()

    def _show(self) -> None:
        ask = self._asks.get(self._chosen)
        card = self.card
        if ask is None:
            card.show_lines([])
            self._tell_unseen()
            self.refresh_keys()
            return
        pending = self._pending
        place = pending.index(ask) + 1 if ask in pending else 0
        shown = f"{ask.id} {ask.looks} {ask.masked}"  # another look at it, or what was masked in it, is another card
        if self.guard.shows != shown:
            card.top = 0
        if self.focused is not self.list:
            self.list.select(ask.id)
        head = head_lines(ask, card.size.width, self.mirror.left(ask), place, len(pending))
        card.show_lines([*head, *self._body_of(ask, card.size.width)])
        self.guard.show(shown, self.now())  # not before: what is typed while a large one is laid out is typed ahead
        self._tell_unseen()
        if ask.status != "pending" or self._told < self.now() - TOLD_SECONDS:
            self.refresh_keys()

    def _tell_unseen(self) -> None:
        """In the title, and where there is none before the keys."""
        ask = self._asks.get(self._chosen)
        title = "" if ask is None else "answer" if ask.status == "pending" else "over"
        unseen = self.card.unseen
        self.query_one("#card-box").border_title = f"{title}, {_lines(unseen)}" if unseen else title
        if unseen != self._unseen:
            self._unseen = unseen
            self.refresh_keys()

    def _body_of(self, ask: AskView, width: int) -> Sequence[PieceLine]:
        """Made once: only the head changes while the time runs."""
        if self._body is None or self._body[0] is not ask or self._body[1] != width:
            self._body = ask, width, body_lines(ask, width, plain=self.proxy_app.ui.symbols == "ascii")
        return self._body[2]

    def on_live_list_moved(self, event: LiveList.Moved) -> None:
        if self.focused is self.list:  # else the list moved by itself, and the card stays
            self._choose(self.list.selected)

    def on_live_list_opened(self, event: LiveList.Opened) -> None:
        self.card.focus()

    def action_step(self, steps: int) -> None:
        """The next question that waits, or the one before."""
        self.guard.note_key(self.now())
        pending = [ask.id for ask in self._pending]
        if not pending:
            return
        place = pending.index(self._chosen) + steps if self._chosen in pending else 0
        self._choose(self._asks[pending[place % len(pending)]])

    def action_rules(self) -> None:
        """Every rule in force."""
        self.guard.note_key(self.now())
        self.app.push_screen(RulesDialog(self.control, self.now))

    def action_history(self) -> None:
        """What has ended, with who said what to it."""
        self.guard.note_key(self.now())
        self.app.push_screen(HistoryDialog(self.control, self.mirror.status.history))

    def action_open_stream(self) -> None:
        """The exchange that the question came with."""
        self.guard.note_key(self.now())
        ask = self._asks.get(self._chosen)
        if ask is not None and ask.exchange:
            self.proxy_app.inspect(ask.exchange)

    def _choose(self, ask: AskView | None) -> None:
        if ask is not None:
            self._chosen = ask.id
            self._show()

    # --- answering ---

    def answer(self, verb: Verb, pressed: float) -> None:
        """What a key on the card means that came then."""
        ask = self._asks.get(self._chosen)
        if ask is None:
            return
        if ask.status != "pending":
            self._tell("This request has ended. Press n for the next")
            return
        allows = verb in ("allow", "edit", "rule")
        verdict = self.guard.press(pressed, grave=verb == "allow" and ask.high)
        if verdict == "early":
            self.app.bell()
            self._tell("Ignored: the card had only just appeared")
            return
        if allows and not self.card.is_seen:
            self.card.action_page(1)
            self._show()
            self._tell("Scroll to the end first")
            return
        if verdict == "again":
            self._tell(f"High risk ({', '.join(ask.notes)}). Press a again to allow")
            return
        self.carry_out(ask.tool, partial(self._verbs()[verb], ask))

    def _tell(self, text: str) -> None:
        """Why a key did nothing, in the place of the keys: there is one at every size."""
        self._told = self.now()
        self.proxy_app.say(text, "warning")
        self.query_one(KeyLine).say([(f" {escape_line(text)}", "warning")])
        self.set_timer(TOLD_SECONDS, self.refresh_keys)

    def _verbs(self) -> dict[Verb, Callable[[AskView], Awaitable[str]]]:
        return {
            "allow": self._allow,
            "deny": self._deny,
            "message": self._deny_with_message,
            "interrupt": self._interrupt,
            "edit": self._edit,
            "extend": self._extend,
            "rule": self._add_rules,
            "reveal": self._reveal,
        }

    async def _allow(self, ask: AskView) -> str:
        await self.control.answer_permission(ask.id, allowed=True)
        self._leave(ask)
        return "allowed"

    async def _deny(self, ask: AskView) -> str:
        await self.control.answer_permission(ask.id, allowed=False)
        self._leave(ask)
        return "denied"

    async def _deny_with_message(self, ask: AskView) -> str:
        written = ""
        while True:
            denial = await self.app.push_screen_wait(MessageDialog(self._waiting(ask), written))
            if denial is None:
                return ""
            written, ends = denial.message, denial.interrupt
            if await self._sent(self.control.answer_permission(ask.id, allowed=False, message=written, interrupt=ends)):
                break
        self._leave(ask)
        return f"denied with your message{', agent stopped' if denial.interrupt else ''}"

    async def _interrupt(self, ask: AskView) -> str:
        await self.control.answer_permission(ask.id, allowed=False, interrupt=True)
        self._leave(ask)
        return "denied, agent stopped"

    async def _reveal(self, ask: AskView) -> str:
        if not ask.masked:
            return "no credential is masked here"
        self._revealed[ask.id] = await self.control.permission_card(ask.id, reveal=True)
        self._reload()
        return ""

    async def _extend(self, ask: AskView) -> str:
        await self.control.extend_permission(ask.id, MORE_SECONDS)
        return f"{MORE_SECONDS / 60:.0f} more minutes"

    async def _edit(self, ask: AskView) -> str:
        if ask.masked or ask.size > len(ask.input.encode()):
            return "Can't be edited here: it contains a masked credential (v shows it), or it is too long"
        if ask.source in TAKES_NO_EDIT:
            return f"{ask.source} does not accept edited input. Press D to deny with a message to the model"
        try:
            given = json.loads(ask.input)
        except (ValueError, RecursionError):
            return "Can't be edited here: it is nested too deeply"
        edited = None
        while True:
            edited = await self.app.push_screen_wait(EditDialog(given, self._waiting(ask), self.now, edited))
            if edited is None:
                return ""
            if await self._sent(self.control.answer_permission(ask.id, allowed=True, edited=edited)):
                break
        self._leave(ask)
        return "allowed as edited"

    def _waiting(self, ask: AskView) -> Waiting:
        """The request as a dialog shows it: a decision elsewhere, or its time, may end it first."""
        extend = partial(self.carry_out, ask.tool, partial(self._extend, ask))
        return Waiting(self.mirror, ask, extend, self.proxy_app.copy)

    async def _sent(self, decision: Awaitable[None]) -> bool:
        """Send a decision that took some writing. False when it does not count: what was written is shown again."""
        try:
            await decision
        except ControlError as error:
            self.proxy_app.say(str(error), "error")
            return False
        return True

    async def _add_rules(self, ask: AskView) -> str:
        proposal = await self.control.propose_rules(ask.id)
        made = await self.app.push_screen_wait(RuleDialog(proposal, self._waiting(ask), self.now))
        if made is None:
            return ""
        note = await self.control.add_rules(ask.id, made.rules, action=made.action, scope=made.scope, hours=made.hours)
        self._leave(ask)
        if note:
            return note
        return (
            f"rule saved: {made.action} {', '.join(made.rules)}"
            if made.rules
            else "allowed, with the tool's own suggestion"
        )

    def _leave(self, ask: AskView) -> None:
        """On to the next one, which must arm anew."""
        self._answered.add(ask.id)
        if self._chosen == ask.id:
            after = [one.id for one in self._pending if one.created > ask.created and one.id != ask.id]
            before = [one.id for one in self._pending if one.created <= ask.created and one.id != ask.id]
            self._chosen = next(iter([*after, *before]), self._chosen)
            self._show()

    def keys(self) -> Sequence[tuple[str, str]]:
        chosen = self._asks.get(self._chosen)
        if chosen is None:
            return (("R", "rules"), ("H", "history"), ("?", "help"), ("q", "quit"))
        if chosen.status != "pending":
            return (("n", "next"), ("?", "help"), ("q", "quit"))
        if self.focused is not self.card:
            return (("ctrl+g", "answer"), ("?", "help"), ("q", "quit"))
        more = (("j", _lines(self._unseen)),) if self._unseen and self.has_class("-short") else ()
        return (
            *more,
            ("a", "allow"),
            ("d", "deny"),
            ("D", "message"),
            ("i", "interrupt"),
            ("A", "always"),
            ("e", "edit"),
            ("x", "more time"),
            *((("v", "show the credential"),) if chosen.masked else ()),
            ("n", "next"),
        )


def _lines(unseen: int) -> str:
    return f"{unseen} more line{'s' * (unseen != 1)}"


def ask_line(asks: Sequence[AskView], left_of: Callable[[AskView], float]) -> str:
    """The oldest question in one line, for the foot of every other screen; nothing when none waits."""
    pending = [ask for ask in asks if ask.status == "pending"]  # the proxy's order: the oldest first
    if not pending:
        return ""
    first = pending[0]
    count = f"{len(pending)} waiting"
    grave = " HIGH" if first.high else ""
    left = words.duration(left_of(first))
    who = first.client or first.source
    return escape_line(f"! {count}{grave} {left}  {who}: {first.tool} {headline(first)}")


def _place(ask: AskView) -> tuple[bool, float]:
    """Return the key of the list, largest first: the oldest that waits at its top, then the latest that has ended."""
    waits = ask.status == "pending"
    return waits, -ask.created if waits else ask.created
