"""Where permission requests of every source are put: rules first, then the person, or nobody when nobody is here."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import cast

import msgspec

from ccproxy_tui.core.control.frames import AuditRow
from ccproxy_tui.core.errors import ProxyError
from ccproxy_tui.core.permissions import Broker, Decision, Entry, PermissionRequest, Source
from ccproxy_tui.core.permissions.preview import encoded, has_changed, look_at
from ccproxy_tui.core.permissions.request import Look
from ccproxy_tui.core.permissions.risk import level_of
from ccproxy_tui.core.permissions.rule_book import RuleBook
from ccproxy_tui.core.permissions.rules import Rule, decide
from ccproxy_tui.core.records.events import Event, PermissionAsked, PermissionDecided
from ccproxy_tui.core.records.store import Store
from ccproxy_tui.core.settings.models import Permissions
from ccproxy_tui.core.text.escape import cut
from ccproxy_tui.core.text.redact import redact_bytes, redact_text

_SHOWN = 4000  # characters of an input that are kept


class FileChanged(ProxyError):
    status = 409
    kind = "invalid_request"


def audit_row(entry: Entry) -> AuditRow:
    """Return what is kept of a request that has ended: secrets masked, the input cut, its digest that of all of it."""
    asked, decision = entry.request, entry.decision
    edited = decision.input if decision is not None and decision.allowed else None
    ran = entry.look.shown if edited is None else encoded(edited)
    return AuditRow(
        entry.id,
        entry.created,
        round(entry.waited, 3),
        asked.source,
        _kept(asked.client),
        _kept(asked.session),
        asked.exchange,
        _kept(asked.cwd),
        _kept(asked.model),
        _kept(asked.tool),
        _start(ran),
        entry.status,
        decision.by if decision is not None else "its client",
        _kept(decision.message) if decision is not None else "",
        redact_text(decision.decider) if decision is not None else "",
        "" if edited is None else _start(entry.look.shown),
        entry.look.digest if edited is None else hashlib.sha256(ran).hexdigest(),
    )


def _start(raw: bytes) -> str:
    """The start of a JSON text, masked before it is cut: no secret is cut in two."""
    more = len(raw) - _SHOWN
    shown = redact_bytes(raw[: 2 * _SHOWN])[:_SHOWN].decode("utf-8", "replace")
    return f"{shown}… {more:,} more bytes" if more > 0 else shown


def _kept(text: str) -> str:
    """A text that a database takes, with its secrets masked: one with a lone surrogate would lose the row."""
    return cut(redact_text(text), _SHOWN).encode("utf-8", "backslashreplace").decode()


def asked_of(row: AuditRow) -> PermissionRequest:
    """Return the request of a row. What was cut of its input can't be read, and fits no rule for certain."""
    try:
        given = msgspec.json.decode(row.original or row.input)
    except (msgspec.DecodeError, RecursionError):
        given = None
    return PermissionRequest(row.tool, given, cast("Source", row.source), session=row.session, cwd=row.cwd)


def look_and_decide(asked: PermissionRequest, rules: Sequence[Rule]) -> tuple[Look, Rule | None]:
    """Return what there is to see of a request, and the rule that settles it. Reads files: for a thread."""
    looked = look_at(asked)
    return looked, decide(rules, asked, high=level_of(looked.notes) == "HIGH")


class Desk:
    """`watched` says whether somebody could answer now; `store` has the exchanges that questions come with."""

    def __init__(
        self,
        broker: Broker,
        rules: RuleBook,
        settings: Callable[[], Permissions],
        watched: Callable[[], bool],
        store: Store,
        publish: Callable[[Event], None],
    ) -> None:
        self._broker = broker
        self._rules = rules
        self._settings = settings
        self._watched = watched
        self._store = store
        self._publish = publish

    @property
    def watched(self) -> bool:
        return self._watched()

    @property
    def attended(self) -> bool:
        return self._watched() or self._settings().without_front_end == "wait"

    async def answers(self, asked: PermissionRequest) -> bool:
        """Return whether it would get a decision of the user, now or by a rule."""
        if self.attended:
            return True
        if self._settings().without_front_end != "rules":
            return False
        return (await asyncio.to_thread(look_and_decide, asked, self._rules.rules_for(asked)))[1] is not None

    async def settle(self, asked: PermissionRequest, owner: str = "") -> Entry:
        """Return the request when it has ended; cancelled while it waits, it is taken back.

        `owner` names the client's process where it is known. Raises InvalidRequest, TooManyRequests.
        """
        if asked.session and not asked.exchange:
            asked = msgspec.structs.replace(asked, exchange=self._store.latest_of(asked.session))
        looked, rule = await asyncio.to_thread(look_and_decide, asked, self._rules.rules_for(asked))
        strict = not self._watched() and self._settings().without_front_end == "deny"
        if strict or rule not in self._rules.rules_for(asked):  # it may have ended in the time
            rule = None
        seconds = self._settings().timeout_seconds
        if rule is None and self.attended:
            owner = owner or "\n".join((asked.source, asked.client, asked.session))
            entry = await self._broker.ask_in_turn(asked, seconds, looked, owner)
            with self._published(entry):
                return await self._broker.wait(entry)
        with self._published(self._broker.ask(asked, seconds, looked)) as entry:
            return self._broker.answer(entry.id, self._decision_by(rule))

    def _decision_by(self, rule: Rule | None) -> Decision:
        """What a rule decides, or that no front end is there to decide."""
        if rule is None:
            return Decision(allowed=False, by="no front end", message="No front end is connected to allow it")
        self._rules.count(rule)
        allowed = rule.action == "allow"
        message = "" if allowed else f"Denied by the rule {rule.text}"
        return Decision(allowed=allowed, by=f"rule {rule.text}", message=message)

    async def check_files(self, entry: Entry) -> None:
        """Raise FileChanged, with a new look at it, when a file is another one than the difference was made from."""
        if entry.status == "pending" and entry.look.files and await asyncio.to_thread(has_changed, entry.look):
            self._broker.look_again(entry, await asyncio.to_thread(look_at, entry.request))
            raise FileChanged("The file has changed since it was shown. Look at it again, then decide.")

    @contextlib.contextmanager
    def _published(self, entry: Entry) -> Iterator[Entry]:
        """Publish a request, and how it has ended."""
        asked, tool = entry.request, _named(entry.request.tool)
        self._publish(PermissionAsked(asked.exchange, entry.id, asked.source, tool))
        try:
            yield entry
        finally:
            by = entry.decision.by if entry.decision is not None else "its client"
            self._publish(PermissionDecided(asked.exchange, entry.id, entry.status, tool, _named(by)))


def _named(text: str) -> str:
    return cut(redact_text(text[:_SHOWN]), 200)
