"""One credential of a provider, and what can be said of its health."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from ccproxy_tui.core.text.redact import learn_secret

CredentialKind = Literal["oauth", "api_key"]


@dataclass(frozen=True, slots=True)
class Credential:
    """Secrets are kept out of `repr`, and masked from now on wherever they stand.

    `expires_at` is in seconds since the epoch, None when it never expires.
    """

    kind: CredentialKind
    secret: str = field(repr=False)
    refresh: str = field(default="", repr=False)
    expires_at: float | None = None
    scopes: tuple[str, ...] = ()
    plan: str = ""
    source: str = ""
    account: str = ""  # the provider's id of the account, where requests must name it
    base_url: str = ""  # where the provider says that this account is served
    renewable: bool = True  # false for a key, and for a token that is given from outside

    def __post_init__(self) -> None:
        learn_secret(*filter(None, (self.secret, self.refresh)))

    @property
    def mark(self) -> str:
        """By which this login is known again: 32 hex digits that tell nothing of it."""
        return hashlib.sha256(f"{self.secret}\0{self.refresh}".encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def expired(self, now: float) -> bool:
        return self.expires_at is not None and now >= self.expires_at


def state_of(credential: Credential | None, now: float) -> tuple[str, bool]:
    """A few words for a status bar, and whether the credential can be used."""
    if credential is None:
        return "missing", False
    if credential.expires_at is None:
        return "ok", True
    left = credential.expires_at - now
    if left <= 0:
        return "expired", False
    return f"ok {duration_word(left)}", True


def duration_word(seconds: float) -> str:
    """`3h12m`, `7d`, `48s`: the two largest units, the second one only below a day."""
    seconds = int(seconds)
    if seconds < 60:
        return f"{seconds}s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes}m"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours}h{minutes:02d}m"
    return f"{hours // 24}d"
