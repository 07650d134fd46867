"""The dialogs of the Approvals screen: words for a denial, an edited input, rules out of a question, and all rules."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static, TextArea

from ccproxy_tui.core.control import Control, ControlError
from ccproxy_tui.core.escape import escape_line
from ccproxy_tui.core.frames import AuditRow, RuleProposal, RuleView
from ccproxy_tui.core.permissions.rules import BadRule, parse_rule
from ccproxy_tui.screens.ui import words
from ccproxy_tui.screens.widgets.live_list import Column, LiveList


class MessageDialog(ModalScreen[str]):
    """A few words for the model, on a denial."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss('')", show=False, id="message.cancel")]

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Deny, and say to the model:", markup=False, classes="dialog-text")
            yield Input(id="denial", placeholder="use git mv instead")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())


@dataclass(frozen=True, slots=True)
class NewRules:
    rules: list[str]
    action: str
    scope: str
    hours: float | None


# Key -> action, scope, hours, words.
_CHOICES: dict[str, tuple[str, str, float | None, str]] = {
    "f2": ("allow", "session", None, "allow in this session"),
    "f3": ("allow", "project", 8.0, "allow in this project for 8 hours"),
    "f4": ("allow", "project", None, "allow in this project, always"),
    "f5": ("allow", "user", None, "allow everywhere, always"),
    "f6": ("deny", "user", None, "deny everywhere, always"),
}


class RuleDialog(ModalScreen["NewRules | None"]):
    """Rules out of a question, to be changed at will; a function key says for how much they hold."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", show=False, id="rule.cancel"),
        *(
            Binding(key, f"choose('{key}')", words_, show=False, id=f"rule.{key}", priority=True)
            for key, (_, _, _, words_) in _CHOICES.items()
        ),
    ]

    def __init__(self, proposal: RuleProposal) -> None:
        super().__init__()
        self._proposal = proposal

    def compose(self) -> ComposeResult:
        proposal = self._proposal
        told = (
            f"would have allowed {proposal.fits} of your last {proposal.of} questions"
            if proposal.rules
            else ("no rule is proposed: it deletes, runs other text, or can't be read for certain")
        )
        with Vertical(classes="dialog wide-dialog"):
            yield Static("Rules, one on a line, as Claude Code writes them:", markup=False)
            yield TextArea("\n".join(proposal.rules), id="rules")
            yield Static(told, markup=False, classes="dialog-hint", id="rule-told")
            for key, (_, _, _, words_) in _CHOICES.items():
                yield Static(f"{key}  {words_}", markup=False)

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()

    def action_choose(self, key: str) -> None:
        rules = [line.strip() for line in self.query_one(TextArea).text.splitlines() if line.strip()]
        action, scope, hours, _ = _CHOICES[key]
        try:
            for rule in rules:
                parse_rule(rule, "deny" if action == "deny" else "allow")
        except BadRule as problem:
            self.query_one("#rule-told", Static).update(escape_line(str(problem)))
            return
        if rules:
            self.dismiss(NewRules(rules, action, scope, hours))


class EditDialog(ModalScreen[Any]):
    """The input as JSON, to be allowed as it is then. Ends with None when the person leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", show=False, id="edit.cancel"),
        Binding("ctrl+s", "send", "allow it so", show=False, id="edit.send", priority=True),
    ]

    def __init__(self, given: Any) -> None:
        super().__init__()
        self._text = json.dumps(given, indent=2, ensure_ascii=False)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide-dialog"):
            yield Static("Edit the input: ctrl+s allows it so, esc leaves", markup=False, classes="dialog-text")
            yield TextArea(self._text, id="edited")
            yield Static("", markup=False, classes="dialog-hint", id="edit-problem")

    def on_mount(self) -> None:
        self.query_one(TextArea).focus()

    def action_send(self) -> None:
        try:
            edited = json.loads(self.query_one(TextArea).text)
        except (ValueError, RecursionError) as error:
            self.query_one("#edit-problem", Static).update(escape_line(f"not valid JSON: {error}"))
            return
        self.dismiss(edited)


class RulesDialog(ModalScreen[None]):
    """Every rule in force, with how often it has answered; to be taken out, and the last change undone."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", show=False, id="rules.close"),
        Binding("d", "remove", "remove", show=False, id="rules.remove"),
        Binding("u", "undo", "undo", show=False, id="rules.undo"),
    ]

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._rule_control = control
        self._rules: dict[str, RuleView] = {}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide-dialog rules-dialog"):
            yield LiveList[RuleView]([], id="rules-list", empty=("", "no rule answers: A on a card makes one"))
            yield Static("d removes, u undoes the last change, esc leaves", markup=False, id="rules-told")

    @property
    def list(self) -> LiveList[RuleView]:
        return self.query_one(LiveList)

    def on_mount(self) -> None:
        action = Column[RuleView]("action", "", 6, lambda one: one.action, style=_rule_style)
        rule = Column[RuleView]("rule", "rule", 0, lambda one: escape_line(one.rule))
        where = Column[RuleView]("where", "where", 24, lambda one: escape_line(where_of(one)))
        hits = Column[RuleView]("hits", "hits", 5, lambda one: str(one.hits), right=True)
        narrow = self.app.size.width < 72
        self.list.set_columns([action, rule, hits] if narrow else [action, rule, where, hits])
        self.list.set_items(self._rules)
        self.list.set_order(lambda one: (one.action != "deny", one.rule), reverse=False, keep=lambda _: True)
        self.list.focus()
        self.run_worker(self._reload(), exit_on_error=False)

    async def _reload(self) -> None:
        try:
            found = await self._rule_control.rules()
        except ControlError as error:
            self._tell(str(error))
            return
        self._rules.clear()
        self._rules.update({str(place): one for place, one in enumerate(found)})
        self.list.rebuild()

    def action_remove(self) -> None:
        if (rule := self.list.selected) is not None:
            self.run_worker(self._change(lambda: self._remove(rule)), exit_on_error=False)

    async def _remove(self, rule: RuleView) -> str:
        await self._rule_control.remove_rule(rule)
        return f"{rule.rule} is gone; u brings it back"

    def action_undo(self) -> None:
        self.run_worker(self._change(self._rule_control.undo_rules), exit_on_error=False)

    async def _change(self, verb: Callable[[], Awaitable[str]]) -> None:
        try:
            self._tell(await verb())
        except ControlError as error:
            self._tell(str(error))
        await self._reload()

    def _tell(self, text: str) -> None:
        self.query_one("#rules-told", Static).update(escape_line(text))


class HistoryDialog(ModalScreen[None]):
    """Who asked for what, and what became of it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "dismiss(None)", show=False, id="history.close")]

    def __init__(self, control: Control) -> None:
        super().__init__()
        self._history_control = control
        self._rows: dict[str, AuditRow] = {}

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide-dialog rules-dialog"):
            yield LiveList[AuditRow]([], id="history-list", empty=("", "no tool has asked yet"))
            yield Static("", markup=False, id="history-told")

    @property
    def list(self) -> LiveList[AuditRow]:
        return self.query_one(LiveList)

    def on_mount(self) -> None:
        when = Column[AuditRow]("when", "when", 13, lambda one: words.moment(one.asked))
        status = Column[AuditRow]("status", "", 9, lambda one: escape_line(one.status), style=_status_style)
        tool = Column[AuditRow]("tool", "tool", 12, lambda one: escape_line(one.tool))
        what = Column[AuditRow]("what", "what", 0, lambda one: escape_line(one.input))
        took = Column[AuditRow]("took", "took", 6, lambda one: words.duration(one.seconds), right=True)
        narrow = self.app.size.width < 72
        self.list.set_columns([status, tool, what] if narrow else [when, status, tool, what, took])
        self.list.set_items(self._rows)
        self.list.set_order(lambda one: one.asked, reverse=True, keep=lambda _: True)
        self.list.focus()
        self.run_worker(self._load(), exit_on_error=False)

    async def _load(self) -> None:
        try:
            found = await self._history_control.permission_history(1000)
        except ControlError as error:
            self.query_one("#history-told", Static).update(escape_line(str(error)))
            return
        self._rows.update({one.id: one for one in found})
        self.list.rebuild()
        self._tell()

    def on_live_list_moved(self, event: LiveList.Moved) -> None:
        self._tell()

    def _tell(self) -> None:
        """The whole of the row under the cursor."""
        row = self.list.selected
        if row is None:
            return
        who = f"{row.client or row.source} in {row.cwd}" if row.cwd else row.client or row.source
        said = f": {row.message}" if row.message else ""
        self.query_one("#history-told", Static).update(escape_line(f"{row.status} by {row.by}{said}, asked by {who}"))


def _status_style(row: AuditRow) -> str:
    return {"allowed": "ok", "denied": "error"}.get(row.status, "warning")


def _rule_style(rule: RuleView) -> str:
    return {"allow": "ok", "deny": "error"}.get(rule.action, "warning")


def where_of(rule: RuleView) -> str:
    """Where a rule holds, and for how long."""
    place = f"session {rule.session}" if rule.session else rule.project or "everywhere"
    if rule.until is not None:
        return f"{place}, to {words.moment(rule.until)}"
    return f"{place}, while it runs" if rule.lent else place
