"""Times that depend on one another: which must be shorter than which, and why.

`violations` is called when a proxy starts, and by a test for the defaults. Sizes and single limits: `core.limits`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ccproxy_tui.core.auth.file_lock import LOCK_SECONDS
from ccproxy_tui.core.auth.owner_lock import OWNER_SECONDS, STALE, TOUCH
from ccproxy_tui.core.auth.renewal import CLAUDE_LIFETIME, COPILOT_LIFETIME, COPILOT_MARGIN, MARGIN
from ccproxy_tui.core.control.frames import HEARTBEAT, SILENCE
from ccproxy_tui.core.limits import HOOK_SECONDS, LAST_SECONDS, SETTLE_SECONDS, STOP_MARGIN, TOKEN_SECONDS
from ccproxy_tui.core.settings.models import Settings

# The shortest watchdog of a client that is known: Claude Code's for streams since 2.1.84, where it is turned on. Since
# 2.1.196 it is on by default and waits 300 s (https://github.com/anthropics/claude-code/blob/main/CHANGELOG.md).
CLIENT_WATCHDOG = 90.0
# Clients of Anthropic's SDKs wait so long for an answer that is no stream.
CLIENT_TIMEOUT = 600.0
# systemd's DefaultTimeoutStopSec; it kills what has not ended by then.
SERVICE_STOP = 90.0


class Time(NamedTuple):
    """A length of time in seconds, and what it is called: the name of a setting, or words."""

    name: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.name} ({self.seconds:g} s)"


class Order(NamedTuple):
    """`shorter` must be shorter than `longer`, or else `result` happens."""

    shorter: Time
    longer: Time
    result: str

    @property
    def holds(self) -> bool:
        return self.shorter.seconds < self.longer.seconds

    def __str__(self) -> str:
        return f"{self.shorter} should be shorter than {self.longer}, or else {self.result}"


def violations(settings: Settings) -> list[str]:
    """Return a sentence for each pair of times in the wrong order. None of them keeps a proxy from serving."""
    return [str(one) for one in orders(settings) if not one.holds]


def orders(settings: Settings) -> Iterator[Order]:
    """Every order that the times must keep."""
    yield from _of_streams(settings)
    yield from _of_front_ends()
    yield from _of_permissions(settings)
    yield from _of_ends(settings)
    yield from _of_renewals()


def _of_streams(settings: Settings) -> Iterator[Order]:
    ping = Time("server.keepalive_seconds", settings.server.keepalive_seconds)
    stall = Time("server.stall_seconds", settings.server.stall_seconds)
    read = Time("http.read_timeout", settings.http.read_timeout)
    connect = Time("http.connect_timeout", settings.http.connect_timeout)
    watchdog = Time("the watchdog of a client", CLIENT_WATCHDOG)
    yield Order(ping, stall, "a stream is shown as stalled before its client gets a ping")
    yield Order(ping, watchdog, "clients give up streams whose upstream is thinking")
    yield Order(stall, watchdog, "a client gives up before its stream is shown as stalled")
    yield Order(stall, read, "a stream fails before it is shown as stalled")
    yield Order(connect, read, "an upstream that can't be reached is given up later than one that is silent")
    hold = Time("accounts.hold_seconds", settings.accounts.hold_seconds)
    yield Order(hold, Time("the time-out of clients", CLIENT_TIMEOUT), "requests without a stream end while they wait")


def _of_front_ends() -> Iterator[Order]:
    beats = Time("two heartbeats", 2 * HEARTBEAT)
    yield Order(
        beats, Time("the silence after which a proxy is reported as not responding", SILENCE), "living proxies are"
    )


def _of_permissions(settings: Settings) -> Iterator[Order]:
    permission = Time("permissions.timeout_seconds", settings.permissions.timeout_seconds)
    hook = Time("the time-out of the hooks that `connect` writes", HOOK_SECONDS)
    yield Order(permission, hook, "the tool ends its hook, and asks by itself, while a card still waits for you")
    idle = Time("permissions.session_rule_idle_minutes", settings.permissions.session_rule_idle_minutes * 60)
    longest = Time("permissions.session_rule_hours", settings.permissions.session_rule_hours * 3600)
    yield Order(idle, longest, "rules for a session end while they are in use")


def _of_ends(settings: Settings) -> Iterator[Order]:
    drain = settings.server.drain_seconds
    ending = Time("server.drain_seconds and what follows", drain + SETTLE_SECONDS + LAST_SECONDS)
    quit_ = Time("the time that quitting gives a proxy", drain + STOP_MARGIN)
    yield Order(ending, quit_, "a renewed login may be lost with the proxy")
    yield Order(ending, Time("the time that systemd gives a service", SERVICE_STOP), "the proxy is killed in its end")


def _of_renewals() -> Iterator[Order]:
    answer = Time("the time-out of token endpoints", TOKEN_SECONDS)
    lock = Time("the wait for our lock", LOCK_SECONDS)
    stale = Time("the age at which an owner's lock is stale", STALE)
    yield Order(answer, lock, "proxies that wait for another's renewal give up before it ends")
    yield Order(Time("two touches of an owner's lock", 2 * TOUCH), stale, "living locks are broken")
    yield Order(Time("a stale lock's age", STALE + TOUCH), Time("the wait for it", OWNER_SECONDS), "it is never broken")
    yield Order(Time("a renewal", TOKEN_SECONDS + LOCK_SECONDS + OWNER_SECONDS), Time("its margin", MARGIN), _ENDED)
    yield Order(Time("Copilot's renewal", TOKEN_SECONDS + LOCK_SECONDS), Time("its margin", COPILOT_MARGIN), _ENDED)
    yield Order(Time("the margin", MARGIN), Time("the life of Claude's tokens", CLAUDE_LIFETIME), _ALWAYS)
    yield Order(Time("the margin", COPILOT_MARGIN), Time("the life of Copilot's tokens", COPILOT_LIFETIME), _ALWAYS)


_ENDED = "a token ends while it is renewed"
_ALWAYS = "it is renewed with every request"
