"""The control API's verbs on rules: made of a question, listed with their hits, taken out, the last change undone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ccproxy_tui.core.control.frames import RuleProposal, RuleView
from ccproxy_tui.core.errors import InvalidRequest, RouteNotFound
from ccproxy_tui.core.limits import VERB_BODY
from ccproxy_tui.core.permissions import Decision, Entry, PermissionRequest
from ccproxy_tui.core.permissions.risk import level_of
from ccproxy_tui.core.permissions.rule_book import Hits, TemporaryRule, count_allowed
from ccproxy_tui.core.permissions.rules import Action, BadRule, Rule, decide, parse_rule, propose
from ccproxy_tui.core.permissions.sources import offer_of
from ccproxy_tui.core.server.body import read_whole
from ccproxy_tui.core.server.deciders import Decider, Guard, decider_of
from ccproxy_tui.core.server.desk import asked_of
from ccproxy_tui.core.server.hub import Hub
from ccproxy_tui.core.settings import SettingsError
from ccproxy_tui.core.settings.models import PermissionRule
from ccproxy_tui.core.system.supervisor import to_its_end

_LAST = 200  # questions that a rule is tried on
T = TypeVar("T")


class _NewRules(msgspec.Struct):
    """`hours` makes them temporary; without, a session's end by the settings for these, the others are saved.

    With the scope "asker" the tool that asks changes its own settings as it has offered, and `rules` are not looked at.
    """

    rules: list[str] = []
    action: Action = "allow"
    scope: Literal["session", "project", "user", "asker"] = "session"
    hours: float | None = None


class _Named(msgspec.Struct):
    """One rule, as the list tells it."""

    rule: str
    action: Action = "allow"
    project: str = ""
    session: str = ""


class _Change(NamedTuple):
    """What was done to the rules: these loans came or went; None for those that are kept in the settings."""

    added: bool
    loans: list[TemporaryRule]
    kept: list[Rule]


def rule_routes(hub: Hub, guard: Guard) -> list[BaseRoute]:
    api = _RuleApi(hub)
    return [
        Route("/permissions/rules", guard(api.rules)),
        Route("/permissions/rules/remove", guard(api.remove, "decide"), methods=["POST"]),
        Route("/permissions/rules/undo", guard(api.undo, "decide"), methods=["POST"]),
        Route("/permissions/{id}/rules", guard(api.proposed)),
        Route("/permissions/{id}/rules", guard(api.add, "decide"), methods=["POST"]),
    ]


class _RuleApi:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._changes: list[_Change] = []
        self._turn = asyncio.Lock()  # an undo takes back the last change, whole

    # --- of a question ---

    async def proposed(self, request: Request) -> Response:
        """Rules that would have allowed this question, and how many of the last ones they fit."""
        entry = self._hub.broker.get(request.path_params["id"])
        texts = await asyncio.to_thread(propose, entry.request)
        rules = [parse_rule(text, "allow") for text in texts]
        fits, count = await asyncio.to_thread(count_allowed, rules, await self._asked_before())
        high = _is_high(entry)
        return _json(RuleProposal(texts, fits, count, offer_of(entry.request, high=high), high=high))

    async def add(self, request: Request) -> Response:
        """Rules out of a question, which they then settle: for its session, its project, or everywhere."""
        given = await _typed(request, _NewRules)
        entry = self._hub.broker.get(request.path_params["id"])
        asked = entry.request
        if given.scope == "asker":
            return self._take_offer(entry, decider_of(request.scope))
        project = asked.cwd if given.scope == "project" else ""
        session = asked.session if given.scope == "session" else ""
        bound = given.scope == "session" and asked.asker is not None
        if given.scope != "user" and not (project or session or bound):
            raise InvalidRequest(f"The request names no {given.scope}, so the rule would apply everywhere.")
        try:
            rules = [parse_rule(text, given.action, project=project, session=session) for text in given.rules]
        except BadRule as problem:
            raise InvalidRequest(f"{problem}.") from problem
        prevails = ""
        if given.scope == "session":
            lent = self._hub.rules.lend_to_session(rules, asked.asker, given.hours)
            self._changes.append(_Change(added=True, loans=lent, kept=[]))
        elif given.hours is not None:
            self._changes.append(_Change(added=True, loans=self._hub.rules.lend(rules, given.hours), kept=[]))
        else:
            prevails = await to_its_end(self._keep_new(rules))
        rule = await asyncio.to_thread(decide, rules, asked, high=_is_high(entry))
        if rule is not None and entry.status == "pending":
            facts = decider_of(request.scope).facts
            decision = Decision(allowed=rule.action == "allow", by=f"rule {rule.text}", decider=facts)
            self._hub.broker.answer(entry.id, decision)
        settled = entry.status != "pending"
        return _json({"added": [rule.text for rule in rules], "settled": settled, "note": prevails})

    async def _asked_before(self) -> list[PermissionRequest]:
        """The last questions: from the disk where they are kept, else since the proxy runs."""
        if self._hub.audit is not None and (rows := await self._hub.audit.recent(_LAST)):
            return [asked_of(row) for row in rows]
        return [entry.request for entry in self._hub.broker.ended[:_LAST]]

    def _take_offer(self, entry: Entry, decider: Decider) -> Response:
        if not offer_of(entry.request, high=_is_high(entry)):
            raise InvalidRequest("The tool suggests no rules of its own.")
        updates = entry.request.suggestions
        self._hub.broker.answer(entry.id, Decision(allowed=True, by=decider.by, decider=decider.facts, updates=updates))
        return _json({"added": [], "settled": True})

    # --- all of them ---

    async def rules(self, _: Request) -> Response:
        book, audit = self._hub.rules, self._hub.audit
        hits = {**book.hits, **(await audit.hits() if audit is not None else {})}
        loans = [self._lent(one, hits) for one in book.temporary()]
        return _json([*loans, *(_view(rule, hits) for rule in self._kept)])

    async def remove(self, request: Request) -> Response:
        given = await _typed(request, _Named)
        await to_its_end(self._remove(given))
        return _json({"removed": given.rule})

    async def undo(self, _: Request) -> Response:
        """Take back the last change that was made here."""
        change = await to_its_end(self._undo())
        texts = [rule.text for rule in (*(loan.rule for loan in change.loans), *change.kept)]
        return _json({"said": f"{', '.join(texts)} {'is removed' if change.added else 'is back'}"})

    # --- changes: the file first, whose writing may fail, then what is in memory ---

    async def _keep_new(self, rules: Sequence[Rule]) -> str:
        """Return what will prevail at the next start. Raises InvalidRequest."""
        async with self._turn:
            before = self._kept
            new = [one for one in rules if one not in before]
            prevails = await self._keep(add=new)
            self._changes.append(_Change(added=True, loans=[], kept=new))
        return prevails

    async def _remove(self, given: _Named) -> None:
        async with self._turn:
            loans = [loan for loan in self._hub.rules.temporary() if _is_named(loan.rule, given)]
            kept = [rule for rule in self._kept if _is_named(rule, given)]
            if not loans and not kept:
                raise RouteNotFound("This rule does not exist (any more).")
            await self._keep(remove=kept)
            self._hub.rules.take_back(loans)
            self._changes.append(_Change(added=False, loans=loans, kept=kept))

    async def _undo(self) -> _Change:
        async with self._turn:
            if not self._changes:
                raise InvalidRequest("No rule was made or removed since the proxy has started.")
            change = self._changes[-1]
            if change.added:
                await self._keep(remove=change.kept)
                self._hub.rules.take_back(change.loans)
            else:
                await self._keep(add=change.kept)
                self._hub.rules.lend_again(change.loans)
            self._changes = [one for one in self._changes if one is not change]  # an equal one may be there
        return change

    def _lent(self, one: TemporaryRule, hits: Mapping[str, Hits]) -> RuleView:
        clock = self._hub.clock
        left = one.ends - clock.since_boot()
        idle_left = None if one.idle_end is None else one.idle_end - clock.since_boot()
        return msgspec.structs.replace(
            _view(one.rule, hits),
            lent=True,
            until=clock.now() + left,
            idle=None if idle_left is None else clock.now() + idle_left,
            left=left,
            idle_left=idle_left,
            asker=one.asker.pid if one.asker is not None else 0,
        )

    # --- the settings ---

    @property
    def _kept(self) -> list[Rule]:
        made = self._hub.settings.permissions.rules
        return [parse_rule(one.rule, one.action, project=one.project) for one in made]

    async def _keep(self, add: Sequence[Rule] = (), remove: Sequence[Rule] = ()) -> str:
        """Change the rules in force, and those of the user's file. Return what will prevail at the next start.

        Raises InvalidRequest.
        """
        if not add and not remove:
            return ""
        try:
            prevails = await self._hub.live_settings.change_rules(
                add=[_written(rule) for rule in add], remove=[_written(rule) for rule in remove]
            )
        except (OSError, SettingsError) as error:
            raise InvalidRequest(f"The rules can't be saved: {error}.") from error
        return f"saved, but {prevails} takes precedence after the next start" if prevails is not None else ""


def _written(rule: Rule) -> PermissionRule:
    return PermissionRule(rule=rule.text, action=rule.action, project=rule.project)


def _is_named(rule: Rule, named: _Named) -> bool:
    return (rule.text, rule.action, rule.project, rule.session) == (
        named.rule,
        named.action,
        named.project,
        named.session,
    )


def _view(rule: Rule, hits: Mapping[str, Hits]) -> RuleView:
    found = hits.get(rule.text, Hits())
    return RuleView(rule.text, rule.action, rule.project, rule.session, found.times, found.last)


def _is_high(entry: Entry) -> bool:
    return level_of(entry.look.notes) == "HIGH"


async def _typed(request: Request, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(await read_whole(request, VERB_BODY), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"Not what this route takes: {error}.") from error


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")
