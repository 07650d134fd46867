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
from ccproxy_tui.core.auth.file_lock import locked
from ccproxy_tui.core.auth.json_file import JsonFile, UnreadableCredentials
from ccproxy_tui.core.auth.oauth_login import Change, CodeLogin, DeviceLogin
from ccproxy_tui.core.auth.quota import Extra, Quota, Reading, read_headers
from ccproxy_tui.core.auth.renewal import Renewal, RenewalFailed
from ccproxy_tui.core.auth.renewer import Renewer
from ccproxy_tui.core.control.frames import AccountDetail, AccountView, WindowView
from ccproxy_tui.core.errors import InvalidRequest, NoCredentials, UpstreamRefused
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.text.http_time import http_date

log = logging.getLogger(__name__)

_USED = 3600.0  # an account that was used within this many seconds is renewed ahead of time
_TRUSTED = 300.0  # seconds for which a 401 is not blamed on a token that was renewed because of one
_HISTORY = 20
_SAME = 5.0  # seconds by which two wall clocks differ that show the same time

Check = Callable[[Credential], Awaitable[Reading]]  # asks the provider how the plan is. Raises ProxyError


class AnyAccount(Protocol):
    """What the proxy and its screens know of an account, whatever it is made of."""

    provider: str

    def view(self) -> AccountView: ...

    def detail(self) -> AccountDetail: ...

    async def keep_fresh(self) -> None: ...

    async def settle(self, seconds: float) -> None: ...

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

    async def settle(self, seconds: float) -> None:
        """There is nothing to do."""

    async def renew_now(self) -> Credential:
        if self._credential is None:
            raise NoCredentials(f"{self.provider} has no key.", hint=self._hint)
        return self._credential

    async def check(self) -> str:
        if self._check is None:
            raise InvalidRequest(f"{self.provider} can't be tested without a paid request.")
        await self._check(await self.renew_now())
        return "the key works"


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
        self._clock = clock
        self._locks = locks
        self._hint = hint
        self.make_login = make_login
        self._check = check
        self._guard = guard
        self._set_aside = False
        self._after_refusal = "", 0.0  # the secret that came after a 401, and when, by the monotonic clock
        self._history: deque[tuple[float, str]] = deque(maxlen=_HISTORY)
        self.reported: Callable[[str], None] = lambda _: None  # called with each line of its history
        self._renewer = Renewer(title, file, renewal, clock, locks, self.note)
        self._last_used = 0.0  # to be shown
        self._used = -_USED  # the same in seconds since the start of the machine
        self._jumped = 0.0  # our wall clock before that of the provider
        self._ahead = 0.0  # of the provider's clock, by which it names resets, before ours since the start
        self.served = 0  # answers that came with it
        self._quota = Quota()
        self.resting: Callable[[], str] = lambda: ""  # why it does not serve just now; its pool sets it
        self.wake: Callable[[], None] = lambda: None  # lets it serve again at once; its pool sets it

    # --- for requests ---

    async def credential(self, stale: str = "") -> Credential:
        """Return what to authenticate with, renewed when it is about to end.

        A token that lives is returned at once, and renewed beside. `stale` is a secret that an upstream has just
        refused: another one is wanted. Raises NoCredentials with the next step.
        """
        self._last_used, self._used = self._clock.now(), self._clock.since_boot()
        found = self._read()
        if found is None:
            raise NoCredentials(f"No {self._title} credentials were found.", hint=self._hint)
        if self._renewer.is_good(found, stale):
            return found
        attempt = self._renewer.attempt(found, stale) if found.renewable else None
        if attempt is None or (found.secret != stale and not found.expired(self._clock.now())):
            return self._as_it_is(found, stale)
        try:
            return await asyncio.shield(attempt)
        except RenewalFailed:
            return self._as_it_is(found, stale)

    def _as_it_is(self, credential: Credential, stale: str) -> Credential:
        if stale and credential.secret == stale:
            raise NoCredentials(f"The {self._title} login was refused.", hint=self._hint)
        if credential.expired(self._clock.now()) and not self._renewer.is_born_expired(credential):
            problem = self._renewer.problem
            reason = f" and could not be renewed: {problem}" if problem else ""
            raise NoCredentials(f"The {self._title} login has expired{reason}.", hint=self._hint)
        return credential

    # --- renewing ---

    async def credential_after_refusal(self, refused: str) -> Credential:
        """Return another credential after an upstream's 401 for the secret `refused`. Raises NoCredentials.

        A token that came this way a moment ago is not the reason when it is refused as well: clients could have the
        login renewed with each request otherwise.
        """
        secret, renewed = self._after_refusal
        if refused == secret and self._clock.monotonic() < renewed + _TRUSTED:
            raise NoCredentials(f"The {self._title} login was renewed, and refused again.")
        credential = await self.credential(stale=refused)
        self._after_refusal = credential.secret, self._clock.monotonic()
        return credential

    async def renew_now(self) -> Credential:
        """Because the person asked, who also wants it to serve again. Raises NoCredentials."""
        self.wake()
        self._renewer.try_at_once()
        found = self._read(recheck=True)
        return await self.credential(stale=found.secret if found is not None else "")

    async def keep_fresh(self) -> None:
        """Called now and then: an account in use is renewed before a request has to wait for it."""
        await self._renewer.put_back()
        if self._clock.since_boot() - self._used > _USED:
            return
        used = self._last_used, self._used
        try:
            await self.credential()
        except NoCredentials:
            pass  # said in the account's state, and to whoever asks
        finally:
            self._last_used, self._used = used

    async def settle(self, seconds: float) -> None:
        """Let a renewal under way end and be written, for at most `seconds`: the proxy is about to end."""
        await self._renewer.settle(seconds)

    async def check(self) -> str:
        """Ask the provider how the plan is. Raises ProxyError."""
        if self._check is None:
            raise InvalidRequest(f"{self.provider} can't be tested without a paid request.")
        credential = await self.credential()
        try:
            reading = await self._check(credential)
        except UpstreamRefused as refused:
            if refused.status != 401 or not credential.renewable:
                raise
            reading = await self._check(await self.credential(stale=credential.secret))
        self._take(reading, self._clock.now())
        told = ", ".join(f"{window.name} {window.used:.0%}" for window in reading.windows)
        return f"the login works{f'; used: {told}' if told else ''}"

    # --- whether it may serve ---

    def set_aside(self, *, aside: bool) -> None:
        """Because the person said so: it serves nothing until told otherwise, or until the proxy starts anew."""
        self._set_aside = aside
        self.note("disabled" if aside else "enabled")
        self.wake()

    def barred(self) -> str:
        """Why it must not be asked, whatever else fails; nothing when it may be."""
        if self._set_aside:
            return "disabled"
        if not self._guard().plan_only or not self._quota.pays(self._plan_time()):
            return ""
        until = self._quota.full_until(self._plan_time())
        when = f" {duration_word(until - self._plan_time())}" if until is not None else ""
        return f"plan used up{when}, plan only"

    # --- logging in and out ---

    async def change_document(self, change: Change) -> str:
        """Change where the login lies, with its lock held. Returns where that is. Keys that nobody knows stay; a file
        that can't be read as a JSON object is kept beside the new one, as `<name>.broken`. Raises OSError, LockTimeout.
        """
        source = self._file.target
        async with locked(self._file.lock_path(source), self._locks):
            self._file.save(source, change(self._file.document_or_nothing(source)))
        self._renewer.forget(source)
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

    def _read(self, *, recheck: bool = False) -> Credential | None:
        try:
            return self._renewer.read(recheck=recheck)
        except UnreadableCredentials as error:
            raise NoCredentials(f"The {self._title} credentials can't be used: {error}.", hint=self._hint) from error

    def note(self, text: str) -> None:
        """A line of its history."""
        self._history.append((self._clock.now(), text))
        self.reported(text)

    # --- for people ---

    def view(self) -> AccountView:
        try:
            credential = self._read()
        except NoCredentials as error:
            return AccountView(self.provider, "", "unreadable", hint=error.text)
        word, ok = state_of(credential, self._clock.now())
        if credential is not None and word == "expired" and credential.renewable and not self._renewer.problem:
            word, ok = ("ok", True) if self._renewer.is_born_expired(credential) else ("ok renews", True)
        if self._renewer.is_running:
            word = f"{word} refreshing"
        if self._renewer.problem:
            word = f"{word} renewal failed"
        hint = "" if ok else self._hint
        if stopped := self.barred() or self.resting():
            word, ok = stopped, False
        plan = credential.plan if credential else ""
        return AccountView(self.provider, plan, word, ok=ok, hint=hint, windows=self._windows(), alarm=self._alarm())

    def _alarm(self) -> str:
        """The share that the fullest window has passed, of those that the person wants to hear of."""
        if self._quota.extra == "paid":
            return "extra usage (paid beyond the plan) has begun"
        full = max(self._quota.windows(self._plan_time()), key=lambda window: window.used, default=None)
        passed = [share for share in self._guard().alarms if full is not None and share <= full.used * 100]
        return f"{full.name} window over {passed[-1]} % used" if full is not None and passed else ""

    def _windows(self) -> list[WindowView]:
        def shown(moment: float | None) -> float | None:
            return None if moment is None else moment + self._jumped

        now = self._plan_time()
        jumped = self._clock.now() - now
        if abs(jumped - self._jumped) > _SAME:  # else front ends would get another moment with each frame
            self._jumped = jumped
        return [
            WindowView(one.name, round(one.used * 100), shown(one.resets), shown(one.fills))
            for one in self._quota.windows(now)
        ]

    def _plan_time(self) -> float:
        """Return the provider's time, by which it names resets: no change of our wall clock moves it."""
        return self._clock.since_boot() + self._ahead

    def note_answer(self, headers: Iterable[tuple[str, str]]) -> Extra:
        """Read what an answer says of the plan's limits, and of who pays for it."""
        self.served += 1
        named = list(headers)
        sent = http_date(next((value for name, value in named if name == "date"), ""))
        now = self._clock.now() if sent is None else sent
        reading = read_headers(named, now)
        if reading.windows or reading.extra:
            self._take(reading, now)
        return reading.extra

    def _take(self, reading: Reading, now: float) -> None:
        """`now` is the provider's time, in seconds since the epoch."""
        self._ahead = now - self._clock.since_boot()
        before = self._quota.note(reading, now)
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
            problem=self._renewer.problem,
            history=list(self._history),
        )
