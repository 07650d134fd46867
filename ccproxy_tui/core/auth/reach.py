"""Which accounts' upstreams do not answer just now, and since when."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ccproxy_tui.core.auth.account import AnyAccount
from ccproxy_tui.core.control.frames import AccountView
from ccproxy_tui.core.errors import UpstreamError, UpstreamRefused
from ccproxy_tui.core.system.clock import Clock


class Reach:
    """By the last request of each: the first answer, also a refusal, ends what a failure began."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}

    @property
    def is_troubled(self) -> bool:
        """Whether any upstream does not answer."""
        return bool(self._since)

    def answered(self, accounts: Iterable[AnyAccount]) -> None:
        for account in accounts:
            self._since.pop(account.provider, None)

    def failed(self, accounts: Iterable[AnyAccount], error: UpstreamError) -> None:
        """A request came to nothing. `error` says what it was: a refusal is an answer."""
        if isinstance(error, UpstreamRefused):
            self.answered(accounts)
            return
        for account in accounts:
            self._since.setdefault(account.provider, self._clock.now())

    def seen(self, view: AccountView) -> AccountView:
        """`view` with this fact on it."""
        return msgspec.structs.replace(view, unreachable=self._since.get(view.provider))
