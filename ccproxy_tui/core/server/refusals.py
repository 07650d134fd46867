"""Clients that the gate refuses: counted, named on the screens, and logged, at most so often."""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

from ccproxy_tui.core.clients import client_name
from ccproxy_tui.core.errors import ProxyError
from ccproxy_tui.core.server.askers import PeerProcesses
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.peers import peer_of
from ccproxy_tui.core.text.escape import cut
from ccproxy_tui.core.text.redact import redact_text

log = logging.getLogger(__name__)

_EACH = 60.0  # seconds between two lines about the same client and reason
_LINES, _PERIOD = 20, 60.0  # so many lines in so many seconds, whoever sends what
_KEPT = 256  # clients that are remembered


@dataclass(slots=True)
class _Seen:
    said: float = float("-inf")
    unsaid: int = 0


class Refusals:
    """One loop's thread only. `changed` is called after each one that is named."""

    def __init__(self, clock: Clock, changed: Callable[[], None]) -> None:
        self._clock = clock
        self._changed = changed
        self._processes = PeerProcesses()
        self._seen: OrderedDict[tuple[str, ...], _Seen] = OrderedDict()
        self._lines: deque[float] = deque(maxlen=_LINES)
        self.count = 0
        self.last = ""  # in words: the latest one that was logged

    async def note(self, scope: Scope, error: ProxyError) -> None:
        """Count a refusal; log it, and find out whose it was, unless the same was logged a moment ago."""
        self.count += 1
        client, peer, now = _name(scope), peer_of(scope), self._clock.monotonic()
        seen = self._seen_of((client, str(peer.uid), _address(scope), type(error).__name__))
        if now - seen.said < _EACH or not self._may_log(now):
            seen.unsaid += 1
            return
        seen.said, unsaid, seen.unsaid = now, seen.unsaid, 0
        pid = peer.pid
        if pid is None and peer.uid is not None:
            pid = await self._processes.find(scope)
        facts = [f"pid {pid}"] if pid is not None else []
        facts += [f"uid {peer.uid}"] if peer.uid is not None and not peer.is_own else []
        facts += [_address(scope)] if peer.uid is None and peer.pid is None else []
        who = f"{client} ({', '.join(facts)})" if facts else client
        self.last = cut(redact_text(f"{who}: {error.message}"), 200)
        more = f" ({unsaid} more like it since the last line)" if unsaid else ""
        target = cut(redact_text(f"{scope.get('method', 'GET')} {scope['path']}"), 120)  # half a secret has no shape
        log.warning("refused %s [%s]%s", self.last, target, more)
        self._changed()

    def _seen_of(self, key: tuple[str, ...]) -> _Seen:
        seen = self._seen.setdefault(key, _Seen())
        self._seen.move_to_end(key)
        if len(self._seen) > _KEPT:
            self._seen.popitem(last=False)
        return seen

    def _may_log(self, now: float) -> bool:
        if len(self._lines) == _LINES and now - self._lines[0] < _PERIOD:
            return False
        self._lines.append(now)
        return True


def _name(scope: Scope) -> str:
    return client_name({name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]})


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""
