"""One account: its credential, kept fresh and shared safely with the program that owns the file."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import msgspec

from ccproxy_tui.core.auth.credentials import Credential, state_of
from ccproxy_tui.core.auth.file_lock import LockTimeout, locked
from ccproxy_tui.core.auth.json_file import JsonFile, UnreadableCredentials
from ccproxy_tui.core.auth.oauth_login import Change, CodeLogin, DeviceLogin
from ccproxy_tui.core.auth.quota import Quota, read_windows
from ccproxy_tui.core.auth.renewal import Renewal, RenewalFailed, RenewalRefused
from ccproxy_tui.core.clock import Clock
from ccproxy_tui.core.errors import NoCredentials, ProxyError
from ccproxy_tui.core.files import replace_file
from ccproxy_tui.core.frames import AccountDetail, AccountView, WindowView

log = logging.getLogger(__name__)

_PAUSE_FIRST = 15.0
_PAUSE_LAST = 600.0
_USED = 3600.0  # an account that was used within this many seconds is renewed ahead of time
_HISTORY = 20


class AnyAccount(Protocol):
    """What the proxy and its screens know of an account, whatever it is made of."""

    provider: str

    def view(self) -> AccountView: ...

    def detail(self) -> AccountDetail: ...

    async def keep_fresh(self) -> None: ...

    async def renew_now(self) -> Credential: ...


class KeyAccount:
    """An API key from the settings or the environment: it never ends, and nobody renews it. None: it is missing."""

    def __init__(self, provider: str, credential: Credential | None, hint: str = "") -> None:
        self.provider = provider
        self._credential = credential
        self._hint = hint

    def view(self) -> AccountView:
        if self._credential is None:
            return AccountView(self.provider, "API key", "missing", hint=self._hint)
        return AccountView(self.provider, "API key", "ok", ok=True)

    def detail(self) -> AccountDetail:
        return AccountDetail(self.view(), source="settings")

    async def keep_fresh(self) -> None:
        """There is nothing to do."""

    async def renew_now(self) -> Credential:
        if self._credential is None:
            raise NoCredentials(f"{self.provider} has no key.", hint=self._hint)
        return self._credential


class Account:
    """`hint` is the next step for the person when the login can't be used; `locks` is where locks may lie, too."""

    def __init__(
        self,
        provider: str,
        title: str,
        file: JsonFile,
        renewal: Renewal | None,
        clock: Clock,
        locks: Path,
        hint: str,
        make_login: Callable[[], CodeLogin | DeviceLogin] | None = None,
    ) -> None:
        self.provider = provider
        self._title = title
        self._file = file
        self._renewal = renewal
        self._clock = clock
        self._locks = locks
        self._hint = hint
        self.make_login = make_login
        self._turn = asyncio.Lock()  # one renewal at a time in this process; the file lock sees to the others
        self._pause = _PAUSE_FIRST
        self._paused_until = 0.0
        self._kept: Credential | None = None  # renewed, but the file can't be written
        self._document: dict[str, object] | None = None
        self._last_used = 0.0
        self._problem = ""
        self._quota = Quota()
        self.resting: Callable[[], str] = lambda: ""  # why it does not serve just now; its pool sets it
        self.wake: Callable[[], None] = lambda: None  # lets it serve again at once; its pool sets it
        self._history: deque[tuple[float, str]] = deque(maxlen=_HISTORY)

    # --- for requests ---

    async def credential(self, stale: str = "") -> Credential:
        """What to authenticate with, renewed when it is about to end.

        `stale` is a secret that an upstream has just refused: another one is wanted. Raises NoCredentials with the
        next step.
        """
        self._last_used = self._clock.now()
        found = self._read()
        if found is None:
            raise NoCredentials(f"No {self._title} credentials were found.", hint=self._hint)
        if self._is_good(found, stale):
            return found
        if self._renewal is None or not self._may_renew(found, stale):
            return self._as_it_is(found, stale)
        async with self._turn:
            return await self._renew(found, stale)

    def _is_good(self, credential: Credential, stale: str) -> bool:
        margin = self._renewal.margin if self._renewal is not None else 0.0
        return credential.secret != stale and not credential.expired(self._clock.now() + margin)

    def _may_renew(self, credential: Credential, stale: str) -> bool:
        """Not again and again while it fails, unless nothing else is left."""
        lives = credential.secret != stale and not credential.expired(self._clock.now())
        return not (lives and self._clock.now() < self._paused_until)

    def _as_it_is(self, credential: Credential, stale: str) -> Credential:
        if credential.secret == stale:
            raise NoCredentials(f"The {self._title} login was refused.", hint=self._hint)
        if credential.expired(self._clock.now()):
            reason = f" and could not be renewed: {self._problem}" if self._problem else ""
            raise NoCredentials(f"The {self._title} login has expired{reason}.", hint=self._hint)
        return credential

    # --- renewing ---

    async def _renew(self, found: Credential, stale: str) -> Credential:
        latest = self._read(anew=True) or found
        if self._is_good(latest, stale):
            return latest
        try:
            async with locked(Path(latest.source), self._locks):
                return await self._renew_locked(latest, stale)
        except RenewalRefused as error:
            again = self._read(anew=True)
            if again is not None and self._is_good(again, stale):
                self._note("taken over from another program")
                return again
            return self._failed(latest, stale, str(error))
        except (RenewalFailed, LockTimeout, OSError, ProxyError) as error:
            return self._failed(latest, stale, str(error).rstrip("."))

    async def _renew_locked(self, before: Credential, stale: str) -> Credential:
        """With the lock held: whoever renewed meanwhile has done our work."""
        assert self._renewal is not None
        latest = self._read(anew=True) or before
        if self._is_good(latest, stale):
            self._note("taken over from another program")
            return latest
        path = Path(latest.source)
        document = self._kept_document() or self._file.document(path)
        renewed = await self._renewal.renew(document)
        fresh = self._file.parse(renewed, latest.source)
        self._pause, self._paused_until, self._problem = _PAUSE_FIRST, 0.0, ""
        self._save(path, renewed, fresh)
        return fresh

    def _save(self, path: Path, document: dict[str, object], fresh: Credential) -> None:
        try:
            replace_file(path, msgspec.json.format(msgspec.json.encode(document), indent=2))
        except OSError as error:
            self._kept = fresh
            self._document = document
            self._note(f"renewed, but {path} can't be written ({error.strerror}); kept in memory")
            log.warning("%s can't be written (%s): the renewed token is kept in memory only", path, error.strerror)
            return
        self._kept = None
        self._note("renewed")

    def _kept_document(self) -> dict[str, object] | None:
        return self._document if self._kept is not None else None

    def _failed(self, credential: Credential, stale: str, reason: str) -> Credential:
        self._problem = reason
        self._paused_until = self._clock.now() + self._pause
        self._pause = min(self._pause * 2, _PAUSE_LAST)
        self._note(f"renewal failed: {reason}")
        log.warning("the %s login could not be renewed: %s", self._title, reason)
        return self._as_it_is(credential, stale)

    async def renew_now(self) -> Credential:
        """Because the person asked, who also wants it to serve again. Raises NoCredentials."""
        self.wake()
        found = self._read(anew=True)
        return await self.credential(stale=found.secret if found is not None else "")

    async def keep_fresh(self) -> None:
        """Called now and then: an account in use is renewed before a request has to wait for it."""
        if self._renewal is None or self._clock.now() - self._last_used > _USED:
            return
        used = self._last_used
        try:
            await self.credential()
        except NoCredentials:
            pass  # said in the account's state, and to whoever asks
        finally:
            self._last_used = used

    # --- logging in and out ---

    async def change_file(self, change: Change) -> Path:
        """Change the credential file with its lock held. Keys that nobody knows stay; a file that can't be read as a
        JSON object is kept beside the new one, as `<name>.broken`. Raises OSError, LockTimeout.
        """
        path = self._file.path
        async with locked(path, self._locks):
            try:
                old = self._file.document(path) if path.exists() else {}
            except UnreadableCredentials:
                replace_file(path.with_name(f"{path.name}.broken"), path.read_bytes())
                old = {}
            replace_file(path, msgspec.json.format(msgspec.json.encode(change(old)), indent=2))
        self._kept, self._problem, self._paused_until = None, "", 0.0
        self.wake()
        self._note("changed by a login here")
        return path

    @property
    def path(self) -> Path:
        return self._file.path

    # --- reading ---

    def _read(self, *, anew: bool = False) -> Credential | None:
        try:
            found = self._file.read(anew=anew)
        except UnreadableCredentials as error:
            raise NoCredentials(f"The {self._title} credentials can't be used: {error}.", hint=self._hint) from error
        if self._kept is not None and found is not None and not self._is_newer(found):
            return self._kept
        return found

    def _is_newer(self, found: Credential) -> bool:
        """Whether the file's owner has renewed after us."""
        kept = self._kept
        return kept is None or (found.expires_at or 0) > (kept.expires_at or 0)

    def _note(self, text: str) -> None:
        self._history.append((self._clock.now(), text))

    # --- for people ---

    def view(self) -> AccountView:
        try:
            credential = self._read()
        except NoCredentials as error:
            return AccountView(self.provider, "", "unreadable", hint=error.text)
        word, ok = state_of(credential, self._clock.now())
        if word == "expired" and self._renewal is not None and credential is not None and not self._problem:
            word, ok = "ok renews", True
        if self._problem:
            word = f"{word} renewal failed"
        if resting := self.resting():
            word, ok = resting, False
        plan = credential.plan if credential else ""
        return AccountView(self.provider, plan, word, ok=ok, hint="" if ok else self._hint, windows=self._windows())

    def _windows(self) -> list[WindowView]:
        return [
            WindowView(one.name, round(one.used * 100), one.resets, one.fills)
            for one in self._quota.windows(self._clock.now())
        ]

    def note_answer(self, headers: Iterable[tuple[str, str]]) -> None:
        """Read what an answer says of the plan's limits."""
        now = self._clock.now()
        self._quota.note(read_windows(headers, now), now)

    def detail(self) -> AccountDetail:
        view = self.view()
        try:
            credential = self._read()
        except NoCredentials:
            credential = None
        return AccountDetail(
            view=view,
            source=credential.source if credential else "",
            expires=credential.expires_at if credential else None,
            renews=self._renewal is not None,
            last_used=self._last_used or None,
            problem=self._problem,
            history=list(self._history),
        )
