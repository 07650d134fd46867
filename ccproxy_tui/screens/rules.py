"""Rules: made out of a question, and all of them with their hits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from ccproxy_tui.core.control.frames import RuleProposal, RuleView
from ccproxy_tui.core.control.protocol import Control, ControlError
from ccproxy_tui.core.permissions.rules import BadRule, parse_rule
from ccproxy_tui.core.text.escape import escape_line, spell
from ccproxy_tui.screens.base import BaseScreen
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.ui.card_guard import CardGuard
from ccproxy_tui.screens.widgets.code_area import CodeArea
from ccproxy_tui.screens.widgets.live_list import Column, LiveList
from ccproxy_tui.screens.widgets.time_left import TimeLeft, Waiting


@dataclass(frozen=True, slots=True)
class NewRules:
    rules: list[str]
    action: str
    scope: str
    hours: float | None


@dataclass(frozen=True, slots=True)
class _Choice:
    """A function key, which works in the text as well, and a letter for terminals that keep those keys."""

    key: str
    letter: str
    action: str
    scope: str
    hours: float | None
    words: str


_CHOICES = (
    _Choice("f2", "s", "allow", "session", None, "allow in this session"),
    _Choice("f3", "h", "allow", "project", 8.0, "allow in this project for 8 hours"),
    _Choice("f4", "p", "allow", "project", None, "allow in this project, always"),
    _Choice("f5", "u", "allow", "user", None, "allow everywhere, always"),
    _Choice("f6", "d", "deny", "user", None, "deny everywhere, always"),
)
_OFFER = _Choice("f7", "c", "allow", "asker", None, "")


class _Choices(Static, can_focus=True):
    """Where the letters count: in the text they are text."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(one.letter, f"screen.choose('{one.key}')", one.words, show=False, id=f"rule.letter_{one.letter}")
        for one in (*_CHOICES, _OFFER)
    ]


class RuleDialog(ModalScreen["NewRules | None"]):
    """Rules out of a question, to be changed at will; a key says for how much they hold."""

    VERTICAL_BREAKPOINTS = BaseScreen.VERTICAL_BREAKPOINTS

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", show=False, id="rule.cancel"),
        *(
            Binding(one.key, f"choose('{one.key}')", one.words, show=False, id=f"rule.{one.key}", priority=True)
            for one in (*_CHOICES, _OFFER)
        ),
        Binding("f8", "more", "more time", show=False, id="rule.more", priority=True),
        Binding("f9", "copy", "copy the text", show=False, id="rule.copy", priority=True),
    ]

    def __init__(self, proposal: RuleProposal, waiting: Waiting, now: Callable[[], float]) -> None:
        super().__init__()
        self._waiting = waiting
        self._proposal = proposal
        self._now = now
        self._guard = CardGuard()
        offer = [replace(_OFFER, words=f"the tool's own suggestion: {_offer(proposal)}")] if proposal.offer else []
        self._choices = {one.key: one for one in (*_CHOICES, *offer)}

    def compose(self) -> ComposeResult:
        proposal = self._proposal
        told = (
            f"would have matched {proposal.fits} of the last {proposal.of} requests"
            if proposal.rules
            else "no rule is suggested: the request deletes, runs other text, or can't be parsed with certainty"
        )
        if proposal.high:
            told = f"high risk: an allow rule never allows requests like this one; {told}"
        lines = [f"{one.key} {one.letter}  {one.words}" for one in self._choices.values()]
        with Vertical(classes="dialog wide-dialog"):
            yield Static("Rules, one per line (Claude Code syntax):", markup=False)
            yield CodeArea("\n".join(proposal.rules), id="rules")
            yield Static(told, markup=False, classes="dialog-hint", id="rule-told")
            yield _Choices("\n".join(lines), markup=False, id="rule-choices")
            yield TimeLeft(self._waiting)
            yield Static("function key, or tab then the letter; esc cancels", markup=False, classes="dialog-hint")

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()
        self._guard.show("offer", self._now())

    def action_more(self) -> None:
        self._waiting.extend()

    def action_copy(self) -> None:
        self._waiting.copy(self.query_one(TextArea).text, "rules")

    def action_choose(self, key: str) -> None:
        choice = self._choices.get(key)
        if choice is None:
            return
        if self._waiting.ended:
            self.query_one(TimeLeft).count()
            return
        if choice.scope == _OFFER.scope:
            self._take_offer(choice)
            return
        rules = [line.strip() for line in self.query_one(TextArea).text.splitlines() if line.strip()]
        try:
            for rule in rules:
                parse_rule(rule, "deny" if choice.action == "deny" else "allow")
        except BadRule as problem:
            self.query_one("#rule-told", Static).update(escape_line(str(problem)))
            return
        if rules:
            self.dismiss(NewRules(rules, choice.action, choice.scope, choice.hours))

    def _take_offer(self, choice: _Choice) -> None:
        """What the tool keeps in its own settings is beyond our rules, so it takes the key twice."""
        told = self.query_one("#rule-told", Static)
        place = self.find_widget(told)
        verdict = self._guard.press(self._now(), grave=True)
        if verdict == "again":
            told.update(
                f"The tool will save this in its own settings: {_offer(self._proposal)}. "
                f"Press {choice.key} again to confirm"
            )
        elif verdict == "go" and place.visible_region != place.region:
            self._guard.rearm(self._now())
            told.update("Nothing was changed: the terminal is too small to show what the tool would save")
        elif verdict == "go":
            self.dismiss(NewRules([], choice.action, choice.scope, None))


def _offer(proposal: RuleProposal) -> str:
    return spell(proposal.offer, inline=True)


class RulesDialog(ModalScreen[None]):
    """Every rule in force, with how often it has answered; to be taken out, and the last change undone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", show=False, id="rules.close"),
        Binding("d", "remove", "remove", show=False, id="rules.remove"),
        Binding("u", "undo", "undo", show=False, id="rules.undo"),
    ]

    def __init__(self, control: Control, now: Callable[[], float]) -> None:
        super().__init__()
        self._rule_control = control
        self._now = now
        self._read_at = now()
        self._rules: dict[str, RuleView] = {}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide-dialog rules-dialog"):
            yield LiveList[RuleView]([], id="rules-list", empty=("", "No rules. Press A on a card to add one"))
            yield Static("", markup=False, id="rules-whole")
            yield Static("d remove, u undo the last change, esc close", markup=False, id="rules-told")

    @property
    def list(self) -> LiveList[RuleView]:
        return self.query_one(LiveList)

    def on_mount(self) -> None:
        action = Column[RuleView]("action", "", 6, lambda one: one.action, style=_rule_style)
        rule = Column[RuleView]("rule", "rule", 0, lambda one: escape_line(one.rule))
        where = Column[RuleView]("where", "where", 26, lambda one: escape_line(where_of(one, self._passed())))
        hits = Column[RuleView]("hits", "hits", 5, lambda one: str(one.hits), right=True)
        last = Column[RuleView]("last", "last", 13, lambda one: words.moment(one.last) if one.last else "never")
        narrow = self.app.size.width < 72
        self.list.set_columns([action, rule, hits] if narrow else [action, rule, where, last, hits])
        self.list.set_items(self._rules)
        self.list.set_order(lambda one: (one.action != "deny", one.rule), reverse=False, keep=lambda _: True)
        self.list.focus()
        self.run_worker(self._reload())

    async def _reload(self) -> None:
        try:
            found = await self._rule_control.rules()
        except ControlError as error:
            self._tell(str(error))
            return
        self._read_at = self._now()
        self._rules.clear()
        self._rules.update({str(place): one for place, one in enumerate(found)})
        self.list.rebuild()

    def _passed(self) -> float:
        return self._now() - self._read_at

    def on_live_list_moved(self, event: LiveList.Moved) -> None:
        """The whole of the rule under the cursor."""
        if (rule := self.list.selected) is not None:
            whole = f"{rule.action} {rule.rule}: {whole_of(rule, self._passed())}"
            self.query_one("#rules-whole", Static).update(escape_line(whole))

    def action_remove(self) -> None:
        if (rule := self.list.selected) is not None:
            self.run_worker(self._change(lambda: self._remove(rule)))

    async def _remove(self, rule: RuleView) -> str:
        await self._rule_control.remove_rule(rule)
        return f"{rule.rule} removed. Press u to undo"

    def action_undo(self) -> None:
        self.run_worker(self._change(self._rule_control.undo_rules))

    async def _change(self, verb: Callable[[], Awaitable[str]]) -> None:
        try:
            self._tell(await verb())
        except ControlError as error:
            self._tell(str(error))
        await self._reload()

    def _tell(self, text: str) -> None:
        self.query_one("#rules-told", Static).update(escape_line(text))


def _rule_style(rule: RuleView) -> str:
    return {"allow": "ok", "deny": "error"}.get(rule.action, "warning")


def where_of(rule: RuleView, passed: float) -> str:
    """Return where a rule holds, and what is left of a temporary one, `passed` seconds after it was read."""
    ends = [left for left in (rule.left, rule.idle_left) if left is not None]
    return f"{_place(rule)}, {words.duration(min(ends) - passed)} left" if ends else _place(rule)


def whole_of(rule: RuleView, passed: float) -> str:
    """The same with each of its ends."""
    place = _place(rule) + (f", only process {rule.asker}" if rule.asker else "")
    if rule.left is None:
        return place
    left = words.duration(rule.left - passed)
    if rule.idle_left is None:
        return f"{place}; ends in {left}"
    idle = words.duration(rule.idle_left - passed)
    return f"{place}; ends in {idle} if unused, in {left} at the latest, and when the last front end leaves"


def _place(rule: RuleView) -> str:
    if rule.session:
        return f"session {rule.session}"
    return rule.project or (f"process {rule.asker}" if rule.asker else "everywhere")
