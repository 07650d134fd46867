"""Renews one login: one attempt at a time in this process, one among all programs, and no token is lost on the way.

The steps of an attempt: take our lock and those of the file's owner; read again, and adopt what another program has
renewed; reserve space for the successor; ask the token endpoint; read again, and write unless the file is newer now.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.file_lock import LockTimeout, locked
from ccproxy_tui.core.auth.json_file import Document, JsonFile, UnreadableCredentials
from ccproxy_tui.core.auth.kept_login import KeptLogin
from ccproxy_tui.core.auth.owner_lock import owner_locked
from ccproxy_tui.core.auth.renewal import Renewal, RenewalFailed, RenewalRefused
from ccproxy_tui.core.errors import ProxyError
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.files import Room

log = logging.getLogger(__name__)

_LONG = float("inf")
_PAUSE_FIRST = 15.0  # seconds after a failure, doubled with each one
_PAUSE_LAST = 600.0
_WAIT_LAST = 3600.0  # at most, of what a token endpoint asks for: an hour, also for an access token that has ended
_PAUSE_ENDED = 5.0  # at most, while the token has ended: nothing else is left
_PUT_BACK = 5.0  # seconds between two tries to write a login into its file
_ADOPT_SECONDS = 2.0  # for another program to write what it got when our token turns out to be used


class Renewer:
    """`state` is a folder of ours for locks and logins that wait for their file; `note` takes a line of history."""

    def __init__(
        self, title: str, file: JsonFile, renewal: Renewal, clock: Clock, state: Path, note: Callable[[str], None]
    ) -> None:
        self._title = title
        self._file = file
        self._renewal = renewal
        self._clock = clock
        self._state = state
        self._note = note
        self.problem = ""  # why the last attempt failed
        self._attempt: asyncio.Future[Credential] | None = None
        self._failed_at = 0.0  # in seconds since the start of the machine
        self._failed_with = ""  # the refresh token of that attempt: another one is tried at once
        self._refused = False
        self._pause = 0.0
        self._wait = 0.0  # after that failure, as the token endpoint asks for
        self._lives = "", 0.0  # our newest token, and for how long: a short one is not renewed with every request
        self._born_expired = ""  # a fresh token that has ended by our clock: the clock is wrong, not the token
        self._kept: KeptLogin | None = None
        self._returning: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._attempt is not None

    def is_born_expired(self, credential: Credential | None) -> bool:
        """Whether the clock of this machine said that a token had ended when it was issued."""
        return credential is not None and bool(credential.secret) and credential.secret == self._born_expired

    # --- reading ---

    def read(self, *, recheck: bool = False) -> Credential | None:
        """Return the login of the file, or the one that waits to be written there. Raises UnreadableCredentials."""
        found = self._file.read(recheck=recheck)
        if found is None:
            return None
        document = self._kept_for(found.source).after(found, recheck=recheck)
        return found if document is None else self._file.parse(document, found.source)

    def _kept_for(self, source: str) -> KeptLogin:
        if self._kept is None or self._kept.source != source:
            self._kept = KeptLogin(self._state / "kept", source, self._clock)
        return self._kept

    def is_good(self, credential: Credential, stale: str) -> bool:
        """Whether it needs no renewal. `stale` is a secret that an upstream has refused."""
        if credential.secret == stale:
            return False
        margin = min(self._renewal.margin, self._lives[1] / 2 if self._lives[0] == credential.secret else _LONG)
        lives = not credential.expired(self._clock.now() + margin)
        return lives or not credential.renewable or self.is_born_expired(credential)

    # --- one attempt ---

    def attempt(self, found: Credential, stale: str) -> asyncio.Future[Credential] | None:
        """Return the attempt under way, or begin one; None while it pauses after a failure.

        Shield it: a caller may leave, and the attempt must not. It raises RenewalFailed or RenewalRefused.
        """
        if self._attempt is None:
            if self._pauses(found, stale):
                return None
            self._attempt = asyncio.ensure_future(self._run(found, stale))
            self._attempt.add_done_callback(self._ended)
        return self._attempt

    def _ended(self, attempt: asyncio.Future[Credential]) -> None:
        self._attempt = None
        if not attempt.cancelled():
            attempt.exception()  # it is shared: no caller may be left to read it

    def _pauses(self, found: Credential, stale: str) -> bool:
        if self._failed_with != found.refresh or not self._pause:
            return False
        lives = found.secret != stale and not found.expired(self._clock.now())
        pause = self._pause if lives or self._refused else min(self._pause, _PAUSE_ENDED)
        return self._clock.since_boot() < self._failed_at + max(pause, self._wait)

    def try_at_once(self) -> None:
        """Forget the pause: you asked for it, or the login is another one."""
        self._pause, self._wait, self.problem, self._born_expired = 0.0, 0.0, "", ""

    async def _run(self, found: Credential, stale: str) -> Credential:
        try:
            async with self._locks(found.source):
                return await self._renew(found, stale)
        except RenewalRefused as error:
            adopted = await self._adopt(stale)
            if adopted is not None:
                return adopted
            self._refused = True
            raise self._failed(found, error) from error
        except (RenewalFailed, LockTimeout, OSError, ProxyError, UnreadableCredentials) as error:
            self._refused = False
            raise self._failed(found, error) from error

    @asynccontextmanager
    async def _locks(self, source: str) -> AsyncIterator[None]:
        """Ours, which all our processes take, then those of the file's owner. Raises LockTimeout, OSError."""
        path = self._file.lock_path(source)
        async with locked(path, self._state), owner_locked(self._file.owner_locks(path), self._clock):
            yield

    async def _renew(self, found: Credential, stale: str) -> Credential:
        """With every lock held."""
        self._recover(found.source)
        on_disk = self._file.read(recheck=True) or found
        kept = self._kept_for(on_disk.source)
        following = kept.after(on_disk, recheck=True)
        latest = on_disk if following is None else self._file.parse(following, on_disk.source)
        if self.is_good(latest, stale):
            self._note("taken over from another program")
            self.try_at_once()
            if following is not None:  # who kept it may be dead
                self._return_soon()
            return latest
        document = following or self._file.document(on_disk.source)
        room, in_file = self._reserve(kept, document)
        try:
            renewed = await self._renewal.renew(document)
            fresh = self._keep(on_disk, renewed, room, in_file=in_file)
        finally:
            if room is not None:
                room.release()
        self.try_at_once()
        self._lives = fresh.secret, (fresh.expires_at or _LONG) - self._clock.now()
        if fresh.expired(self._clock.now()):
            self._born_expired = fresh.secret
            self._note("the new token has ended already, by the clock of this machine: is it set right?")
        return fresh

    def _recover(self, source: str) -> None:
        """Take up what a program of ours that was killed has left. With every lock held. Raises OSError."""
        self._file.recover(source)
        self._kept_for(source).recover()

    async def _adopt(self, stale: str) -> Credential | None:
        """Our token was used already: by a program that takes no lock and has not written its answer yet, perhaps."""
        deadline = asyncio.get_running_loop().time() + _ADOPT_SECONDS
        while True:
            again = self.read(recheck=True)
            if again is not None and self.is_good(again, stale):
                self._note("taken over from another program")
                self.try_at_once()
                return again
            if asyncio.get_running_loop().time() >= deadline:
                return None
            await asyncio.sleep(0.1)

    def _failed(self, found: Credential, error: Exception) -> RenewalFailed:
        self.problem = str(error).rstrip(".")
        self._failed_at, self._failed_with = self._clock.since_boot(), found.refresh
        self._pause = min(self._pause * 2, _PAUSE_LAST) if self._pause else _PAUSE_FIRST
        self._wait = min(error.wait, _WAIT_LAST) if isinstance(error, RenewalFailed) else 0.0
        self._note(f"renewal failed: {self.problem}")
        log.warning("the %s login could not be renewed: %s", self._title, self.problem)
        return RenewalFailed(self.problem)

    # --- keeping what came ---

    def _reserve(self, kept: KeptLogin, document: Document) -> tuple[Room | None, bool]:
        """Reserve space for the successor, in its file or else in our folder. Raises RenewalFailed: a refresh token
        whose successor can't be kept is not spent."""
        try:
            return self._file.reserve(kept.source, document), True
        except OSError as error:
            reason = error.strerror or str(error)
        try:
            return kept.reserve(document), False
        except OSError:
            raise RenewalFailed(f"a new token could not be kept: {kept.source} can't be written ({reason})") from None

    def _keep(self, before: Credential, renewed: Document, room: Room | None, *, in_file: bool) -> Credential:
        """Write what came, unless its owner has written another login by now, or taken it out.

        `before` is the login that the file had when every lock was taken. Raises RenewalFailed.
        """
        source = before.source
        fresh = self._file.parse(renewed, source)
        try:
            current: Document | None = self._file.document(source)
            if self._file.login_of(renewed) and not self._file.login_of(current or {}):
                raise RenewalFailed(f"the login was taken out of {source} while it was renewed")
            on_disk = self._file.parse(current, source)
        except UnreadableCredentials:
            current, on_disk = None, before
        if on_disk.secret not in (before.secret, fresh.secret):
            self._note("taken over from another program")
            return on_disk
        document = renewed if current is None else {**current, **self._file.login_of(renewed)}
        if not in_file:
            self._keep_aside(before, document, room, "")
            return fresh
        try:
            self._file.save(source, document, room)
        except OSError as error:
            self._keep_aside(before, document, None, error.strerror or str(error))
            return fresh
        self._kept_for(source).drop()
        self._note("renewed")
        return fresh

    def _keep_aside(self, before: Credential, document: Document, room: Room | None, reason: str) -> None:
        """Keep the login in our folder until its file can be written; in memory alone where that fails as well."""
        source = before.source
        place = "in our state folder" if self._kept_for(source).keep(before, document, room) else "in memory only"
        why = f" ({reason})" if reason else ""
        self._note(f"renewed, but {source} can't be written{why}; kept {place}")
        log.warning("%s can't be written%s: the renewed login is kept %s until it can", source, why, place)
        self._return_soon()

    def _return_soon(self) -> None:
        if self._returning is None:
            self._returning = asyncio.ensure_future(self._return())
            self._returning.add_done_callback(self._returned)

    async def _return(self) -> None:
        """Its owner knows nothing of the login, and must not find the old one when there is room again."""
        while self._kept is not None and self._kept.is_there:
            await asyncio.sleep(_PUT_BACK)
            await self.put_back()

    def _returned(self, _: asyncio.Task[None]) -> None:
        self._returning = None

    async def put_back(self) -> None:
        """Write a login that waits for its file, as soon as there is room for it; also one of a killed program."""
        try:
            found = self._file.read()
            if found is None or self._attempt is not None or not self._waits(found.source):
                return
            if not self._file.is_interrupted(found.source):  # to take that up needs no room
                self._look_for_room(found.source)
            async with self._locks(found.source):
                self._put_back(found.source)
        except (OSError, LockTimeout, UnreadableCredentials) as error:
            log.debug("%s still waits for its file: %s", self._title, error)
            self._return_soon()

    def _look_for_room(self, source: str) -> None:
        """Without room the locks are not worth taking. Raises OSError, UnreadableCredentials."""
        if (room := self._file.reserve(source, self._file.document(source))) is not None:
            room.release()

    def _waits(self, source: str) -> bool:
        return self._kept_for(source).is_there or self._file.is_interrupted(source)

    def _put_back(self, source: str) -> None:
        """With every lock held."""
        self._recover(source)
        kept, found = self._kept_for(source), self._file.read(recheck=True)
        document = kept.after(found, recheck=True) if found is not None else None
        if document is not None:
            self._file.save(source, {**self._file.document(source), **self._file.login_of(document)})
            self._note(f"saved in {source} again")
        kept.drop()

    def forget(self, source: str) -> None:
        """The login at `source` was changed from here: what waits for it and what failed are no longer true."""
        self._kept_for(source).drop()
        self._file.forget(source)
        self.try_at_once()

    async def settle(self, seconds: float) -> None:
        """Let an attempt under way end, so that what it gets is written. At most `seconds`."""
        if self._attempt is not None:
            await asyncio.wait({self._attempt}, timeout=seconds)
        if self._returning is not None:
            self._returning.cancel()
        await self.put_back()
