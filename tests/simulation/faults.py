"""Faults that the product had, or could have: put back by a patch, to see that the simulation finds each of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest import mock

from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import JsonFile
from ccproxy_tui.core.auth.kept_login import KeptLogin
from ccproxy_tui.core.auth.renewal import RenewalFailed
from ccproxy_tui.core.auth.renewer import Renewer
from ccproxy_tui.core.control.frames import AuditRow
from ccproxy_tui.core.exchange.tap import Tap
from ccproxy_tui.core.permissions import Broker, Decision, Entry
from ccproxy_tui.core.permissions.rule_book import RuleBook
from ccproxy_tui.core.storage.audit import Audit
from ccproxy_tui.core.storage.waiting import RowFile, WaitingRows
from ccproxy_tui.core.system.files import sweep


@contextlib.asynccontextmanager
async def _nothing(*_: Any, **__: Any) -> AsyncIterator[None]:
    yield


def owner_lock_ignored() -> AbstractContextManager[Any]:
    """The folders that Claude Code makes while it renews are not looked at."""
    return mock.patch("ccproxy_tui.core.auth.renewer.owner_locked", _nothing)


def renewal_in_the_way() -> AbstractContextManager[Any]:
    """A request waits for a renewal although its token lives."""
    right = Account.credential

    async def credential(self: Account, stale: str = "") -> Credential:
        found = self._renewer.read()
        if found is not None and found.renewable and not self._renewer.is_good(found, stale):
            attempt = self._renewer.attempt(found, stale)
            with contextlib.suppress(RenewalFailed):
                await asyncio.shield(attempt) if attempt is not None else None
        return await right(self, stale)

    return mock.patch.object(Account, "credential", credential)


def no_space_reserved() -> AbstractContextManager[Any]:
    """A refresh token is spent before it is known whether its successor can be kept."""
    return mock.patch.object(JsonFile, "reserve", return_value=None)


@contextlib.contextmanager
def no_look_inside_the_lock() -> Iterator[None]:
    """The login that was read before the locks were taken is the one that is renewed."""
    right = Renewer._locks

    @contextlib.asynccontextmanager
    async def locks(self: Renewer, source: str) -> AsyncIterator[None]:
        file: Any = self._file
        document, found = file.document(source), file.read()
        async with right(self, source):
            file.document, file.read = lambda _: document, lambda **_: found
            try:
                yield
            finally:
                del file.document, file.read

    with mock.patch.object(Renewer, "_locks", locks):
        yield


def kept_login_not_shared() -> AbstractContextManager[Any]:
    """A proxy looks once for what others keep aside, and never again."""
    right = KeptLogin._load

    def load(self: KeptLogin, *, recheck: bool) -> Any:
        if self._looked < 0:
            right(self, recheck=recheck)
            self._looked = 0.0
        return self._found

    return mock.patch.object(KeptLogin, "_load", load)


def renewal_ends_with_its_request() -> AbstractContextManager[Any]:
    """A client that leaves takes the renewal along that its request waits for, and the token with it."""
    right = Renewer.attempt

    def attempt(self: Renewer, found: Credential, stale: str) -> asyncio.Future[Credential] | None:
        renewal = right(self, found, stale)
        if renewal is not None and (request := asyncio.current_task()) is not None:
            request.add_done_callback(lambda _: renewal.cancel() if request.cancelled() else None)
        return renewal

    return mock.patch.object(Renewer, "attempt", attempt)


def answer_written_over_another_login() -> AbstractContextManager[Any]:
    """What the token endpoint sent is written, whatever the user has done with the file."""
    right = Renewer._keep

    def keep(self: Renewer, before: Credential, renewed: Any, room: Any, *, in_file: bool) -> Credential:
        if not in_file:
            return right(self, before, renewed, room, in_file=in_file)
        self._file.save(before.source, renewed, room)
        return self._file.parse(renewed, before.source)

    return mock.patch.object(Renewer, "_keep", keep)


def killed_writer_swept() -> AbstractContextManager[Any]:
    """What a proxy has written and not yet renamed when it is killed is removed, as if it were worth nothing."""

    def recover(_: JsonFile, source: str) -> None:
        sweep(Path(source))

    return mock.patch.object(JsonFile, "recover", recover)


def token_answer_without_limit() -> AbstractContextManager[Any]:
    """A token endpoint that trickles is waited for until it has sent all, however long that takes."""
    return mock.patch("ccproxy_tui.providers.login.TOKEN_SECONDS", 1e6)


def late_decision_taken() -> AbstractContextManager[Any]:
    """The second of two front ends is told that its decision counts."""
    right = Broker.answer

    def answer(self: Broker, name: str, decision: Decision) -> Entry:
        entry = self.get(name)
        return entry if entry.status != "pending" else right(self, name, decision)

    return mock.patch.object(Broker, "answer", answer)


def no_time_out() -> AbstractContextManager[Any]:
    """A permission request waits for a decision for as long as it takes."""
    return mock.patch.object(Broker, "_set_timer")


def rule_outlives_front_ends() -> AbstractContextManager[Any]:
    """A rule for the session is in force after the last front end has left."""
    return mock.patch.object(RuleBook, "detach")


def end_mark_not_looked_for() -> AbstractContextManager[Any]:
    """A stream that was relayed to the end of its connection counts as whole."""
    return mock.patch.object(Tap, "has_end_mark", True)


def rows_in_memory_first() -> AbstractContextManager[Any]:
    """A row goes into the database from memory: a proxy that is killed, or that has none, loses it."""
    return mock.patch.object(Audit, "_write_down", return_value=None)


def file_removed_too_early() -> AbstractContextManager[Any]:
    """The file of rows is removed before the database has them."""
    right = RowFile.rows

    def rows(self: RowFile) -> list[AuditRow]:
        self._path.unlink(missing_ok=True)
        return right(self)

    return mock.patch.object(RowFile, "rows", rows)


def killed_proxies_rows_left() -> AbstractContextManager[Any]:
    """What a killed proxy has written down, and not brought into the database, is taken over by none."""
    return mock.patch.object(WaitingRows, "left_behind", return_value=[])


def loss_not_counted() -> AbstractContextManager[Any]:
    """What no memory is left for is dropped in silence."""
    return mock.patch.object(Audit, "_lost", property(lambda _: 0, lambda *_: None), create=True)


FAULTS: list[Callable[[], AbstractContextManager[Any]]] = [
    owner_lock_ignored,
    renewal_in_the_way,
    no_space_reserved,
    no_look_inside_the_lock,
    kept_login_not_shared,
    renewal_ends_with_its_request,
    answer_written_over_another_login,
    killed_writer_swept,
    token_answer_without_limit,
    late_decision_taken,
    no_time_out,
    rows_in_memory_first,
    file_removed_too_early,
    killed_proxies_rows_left,
    loss_not_counted,
    rule_outlives_front_ends,
    end_mark_not_looked_for,
]
