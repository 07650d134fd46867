"""One account: its credential, kept fresh and shared safely with the program that owns the file."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ccproxy_tui.core.auth.credentials import Credential, duration_word, state_of
from ccproxy_tui.core.auth.file_lock import LockTimeout, locked
from ccproxy_tui.core.auth.json_file import Document, JsonFile, UnreadableCredentials
from ccproxy_tui.core.auth.oauth_login import Change, CodeLogin, DeviceLogin
from ccproxy_tui.core.auth.quota import Extra, Quota, Reading, read_headers
from ccproxy_tui.core.auth.renewal import Renewal, RenewalFailed, RenewalRefused
from ccproxy_tui.core.clock import Clock
from ccproxy_tui.core.errors import InvalidRequest, NoCredentials, ProxyError, UpstreamRefused
from ccproxy_tui.core.frames import AccountDetail, AccountView, WindowView

log = logging.getLogger(__name__)

_PAUSE_FIRST = 15.0
_PAUSE_LAST = 600.0
_USED = 3600.0  # an account that was used within this many seconds is renewed ahead of time
_HISTORY = 20

Check = Callable[[Credential], Awaitable[Reading]]  # asks the provider how the plan is. Raises ProxyError


class AnyAccount(Protocol):
    """What the proxy and its screens know of an account, whatever it is made of."""

    provider: str

    def view(self) -> AccountView: ...

    def detail(self) -> AccountDetail: ...

    async def keep_fresh(self) -> None: ...

    async def renew_now(self) -> Credential: ...

    async def check(self) -> str:
        """Ask the provider whether it takes the credential, at no cost. What it says. Raises ProxyError."""
        ...


class KeyAccount:
    """An API key from the settings or the environment: it never ends, and nobody renews it. None: it is missing."""

    def __init__(
        self, provider: str, credential: Credential | None, hint: str = "", check: Check | None = None
    ) -> None:
        self.provider = provider
        self._credential = credential
        self._hint = hint
        self._check = check

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

    async def check(self) -> str:
        if self._check is None:
            raise InvalidRequest(f"{self.provider} can't be tested without a request that costs.")
        await self._check(await self.renew_now())
        return "the key is taken"


@dataclass(frozen=True, slots=True)
class Guard:
    """What the person allows and wants to hear of: paid use beyond the plan, and shares (in percent) that warn."""

    plan_only: bool = False
    alarms: Sequence[int] = ()


class Account:
    """`hint` is the next step for the person when the login can't be used; `locks` is where locks may lie, too."""

    def __init__(
        self,
        provider: str,
        title: str,
        file: JsonFile,
        renewal: Renewal,
        clock: Clock,
        locks: Path,
        hint: str,
        *,
        make_login: Callable[[], CodeLogin | DeviceLogin] | None = None,
        check: Check | None = None,
        guard: Callable[[], Guard] = Guard,
    ) -> None:
        self.provider = provider
        self._title = title
        self._file = file
        self._renewal = renewal
        self._clock = clock
        self._locks = locks
        self._hint = hint
        self.make_login = make_login
        self._check = check
        self._guard = guard
        self._set_aside = False
        self._born_expired = ""  # a fresh token that has ended by our clock: the clock is wrong, not the token
        self._turn = asyncio.Lock()  # one renewal at a time in this process; the file lock sees to the others
        self._pause = _PAUSE_FIRST
        self._paused_until = 0.0
        self._kept: Credential | None = None  # renewed, but the file can't be written
        self._document: Document | None = None
        self._last_used = 0.0
        self.served = 0  # answers that came with it
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
        if not self._may_renew(found, stale):
            return self._as_it_is(found, stale)
        async with self._turn:
            return await self._renew(found, stale)

    def _is_good(self, credential: Credential, stale: str) -> bool:
        if credential.secret == stale:
            return False
        lives = not credential.expired(self._clock.now() + self._renewal.margin)
        return lives or not credential.renewable or credential.secret == self._born_expired

    def _may_renew(self, credential: Credential, stale: str) -> bool:
        """Not again and again while it fails, unless nothing else is left."""
        if not credential.renewable:
            return False
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
            async with locked(self._file.lock_path(latest.source), self._locks):
                return await self._renew_locked(latest, stale)
        except RenewalRefused as error:
            again = self._read(anew=True)
            if again is not None and self._is_good(again, stale):
                self.note("taken over from another program")
                return again
            return self._failed(latest, stale, str(error))
        except (RenewalFailed, LockTimeout, OSError, ProxyError, UnreadableCredentials) as error:
            return self._failed(latest, stale, str(error).rstrip("."))

    async def _renew_locked(self, before: Credential, stale: str) -> Credential:
        """With the lock held: whoever renewed meanwhile has done our work."""
        latest = self._read(anew=True) or before
        if self._is_good(latest, stale):
            self.note("taken over from another program")
            return latest
        document = self._kept_document() or self._file.document(latest.source)
        renewed = await self._renewal.renew(document)
        fresh = self._file.parse(renewed, latest.source)
        self._pause, self._paused_until, self._problem = _PAUSE_FIRST, 0.0, ""
        self._save(latest.source, renewed, fresh)
        self._born_expired = fresh.secret if fresh.expired(self._clock.now()) else ""
        if self._born_expired:
            self.note("the new token has ended already, by the clock of this machine: is it set right?")
        return fresh

    def _save(self, source: str, document: Document, fresh: Credential) -> None:
        try:
            self._file.save(source, document)
        except OSError as error:
            self._kept = fresh
            self._document = document
            self.note(f"renewed, but {source} can't be written ({error.strerror}); kept in memory")
            log.warning("%s can't be written (%s): the renewed token is kept in memory only", source, error.strerror)
            return
        self._kept = None
        self.note("renewed")

    def _kept_document(self) -> Document | None:
        return self._document if self._kept is not None else None

    def _failed(self, credential: Credential, stale: str, reason: str) -> Credential:
        self._problem = reason
        self._paused_until = self._clock.now() + self._pause
        self._pause = min(self._pause * 2, _PAUSE_LAST)
        self.note(f"renewal failed: {reason}")
        log.warning("the %s login could not be renewed: %s", self._title, reason)
        return self._as_it_is(credential, stale)

    async def renew_now(self) -> Credential:
        """Because the person asked, who also wants it to serve again. Raises NoCredentials."""
        self.wake()
        found = self._read(anew=True)
        return await self.credential(stale=found.secret if found is not None else "")

    async def keep_fresh(self) -> None:
        """Called now and then: an account in use is renewed before a request has to wait for it."""
        if self._clock.now() - self._last_used > _USED:
            return
        used = self._last_used
        try:
            await self.credential()
        except NoCredentials:
            pass  # said in the account's state, and to whoever asks
        finally:
            self._last_used = used

    async def check(self) -> str:
        """Ask the provider how the plan is. Raises ProxyError."""
        if self._check is None:
            raise InvalidRequest(f"{self.provider} can't be tested without a request that costs.")
        credential = await self.credential()
        try:
            reading = await self._check(credential)
        except UpstreamRefused as refused:
            if refused.status != 401 or not credential.renewable:
                raise
            reading = await self._check(await self.credential(stale=credential.secret))
        self._take(reading)
        told = ", ".join(f"{window.name} {window.used:.0%}" for window in reading.windows)
        return f"the login is taken{f'; used: {told}' if told else ''}"

    # --- whether it may serve ---

    def set_aside(self, *, aside: bool) -> None:
        """Because the person said so: it serves nothing until told otherwise, or until the proxy starts anew."""
        self._set_aside = aside
        self.note("set aside" if aside else "serves again")
        self.wake()

    def barred(self) -> str:
        """Why it must not be asked, whatever else fails; nothing when it may be."""
        if self._set_aside:
            return "set aside"
        if not self._guard().plan_only or not self._quota.pays(self._clock.now()):
            return ""
        until = self._quota.full_until(self._clock.now())
        when = f" {duration_word(until - self._clock.now())}" if until is not None else ""
        return f"plan used up{when}, plan only"

    # --- logging in and out ---

    async def change_document(self, change: Change) -> str:
        """Change where the login lies, with its lock held. Returns where that is. Keys that nobody knows stay; a file
        that can't be read as a JSON object is kept beside the new one, as `<name>.broken`. Raises OSError, LockTimeout.
        """
        source = self._file.target
        async with locked(self._file.lock_path(source), self._locks):
            self._file.save(source, change(self._file.document_or_nothing(source)))
        self._kept, self._problem, self._paused_until, self._born_expired = None, "", 0.0, ""
        self.wake()
        return source

    async def log_in(self, change: Change) -> str:
        """Save a login. Raises OSError, LockTimeout."""
        source = await self.change_document(change)
        self.note("logged in here")
        return source

    async def log_out(self) -> str:
        """Take the login out of its file: the vendor's own program is logged out, too. Raises OSError, LockTimeout."""
        source = await self.change_document(self._file.without_login)
        self.note("logged out here")
        return source

    async def import_login(self, path: Path) -> str:
        """Take over the login of another file of the same shape. Raises NoCredentials, OSError, LockTimeout."""
        other = JsonFile([path], path, self._file.parse, self._clock)
        try:
            if other.read() is None:
                raise NoCredentials(f"There is no file {path}.")
            document = other.document(str(path))
        except UnreadableCredentials as error:
            raise NoCredentials(f"That can't be imported: {error}.") from error
        source = await self.change_document(lambda old: {**old, **self._file.login_of(document)})
        self.note(f"imported from {path}")
        return source

    @property
    def target(self) -> str:
        """Where a login is saved."""
        return self._file.target

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

    def note(self, text: str) -> None:
        """A line of its history."""
        self._history.append((self._clock.now(), text))

    # --- for people ---

    def view(self) -> AccountView:
        try:
            credential = self._read()
        except NoCredentials as error:
            return AccountView(self.provider, "", "unreadable", hint=error.text)
        word, ok = state_of(credential, self._clock.now())
        if credential is not None and word == "expired" and credential.renewable and not self._problem:
            word, ok = ("ok", True) if credential.secret == self._born_expired else ("ok renews", True)
        if self._turn.locked():
            word = f"{word} refreshing"
        if self._problem:
            word = f"{word} renewal failed"
        hint = "" if ok else self._hint
        if stopped := self.barred() or self.resting():
            word, ok = stopped, False
        plan = credential.plan if credential else ""
        return AccountView(self.provider, plan, word, ok=ok, hint=hint, windows=self._windows(), alarm=self._alarm())

    def _alarm(self) -> str:
        """The share that the fullest window has passed, of those that the person wants to hear of."""
        if self._quota.extra == "paid":
            return "paid use beyond the plan has begun"
        full = max(self._quota.windows(self._clock.now()), key=lambda window: window.used, default=None)
        passed = [share for share in self._guard().alarms if full is not None and share <= full.used * 100]
        return f"{full.name} window over {passed[-1]} % used" if full is not None and passed else ""

    def _windows(self) -> list[WindowView]:
        return [
            WindowView(one.name, round(one.used * 100), one.resets, one.fills)
            for one in self._quota.windows(self._clock.now())
        ]

    def note_answer(self, headers: Iterable[tuple[str, str]]) -> Extra:
        """Read what an answer says of the plan's limits, and of who pays for it."""
        self.served += 1
        reading = read_headers(headers, self._clock.now())
        if reading.windows or reading.extra:
            self._take(reading)
        return reading.extra

    def _take(self, reading: Reading) -> None:
        before = self._quota.note(reading, self._clock.now())
        for old, new in zip(before, reading.windows, strict=True):
            crossed = [share for share in self._guard().alarms if old.used * 100 < share <= new.used * 100]
            if crossed:
                self.note(f"{new.name}: {crossed[-1]} % used")
                log.warning("%s has used %d %% of its %s window", self.provider, round(new.used * 100), new.name)

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
            renews=credential is not None and credential.renewable,
            last_used=self._last_used or None,
            served=self.served,
            plan_only=self._guard().plan_only,
            extra=self._quota.extra,
            aside=self._set_aside,
            warning=self._file.warning,
            problem=self._problem,
            history=list(self._history),
        )
