"""Masks secrets in headers, text and bodies before they reach a log, a screen, the clipboard or the disk.

What has a secret's shape is masked wherever it stands. A credential of ours is known by its value from the moment that
it is read, whatever its shape: an upstream may quote a key in its error message. What clients send is never learned:
they could hide any text by sending it as a secret.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

MASK = "[redacted]"
_KNOWN_LENGTH = 16  # shorter ones are dummies, and words
_KNOWN_LIMIT = 256
_SHORTEST = 15  # "Basic " and eight characters: nothing shorter can hold what the patterns below find
_MASK_BYTES = MASK.encode()

_SECRET_HEADERS = frozenset(
    {
        "api-key",
        "authorization",
        "cookie",
        "proxy-authorization",
        "set-cookie",
        "x-api-key",
        "x-auth-token",
        "x-goog-api-key",
    }
)
_SECRET_HEADER_PART = re.compile(r"token|secret|password|credential|api-?key", re.IGNORECASE)
# Header names that hold a counter or a limit of tokens, not a secret.
_COUNTER_HEADER = re.compile(r"ratelimit|rate-limit|tokens|token-count|token-efficient", re.IGNORECASE)

# Shapes of secrets that their issuers made recognisable on purpose.
_SHAPES = (
    rb"sk-[A-Za-z0-9_-]{16,}"  # Anthropic and OpenAI keys and tokens
    rb"|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}"
    rb"|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{30,}|xox[abprs]-[A-Za-z0-9-]{10,}"
    rb"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"  # JSON web tokens
)
_BEARER = rb"((?:[Bb]earer|[Bb]asic)\s+)[A-Za-z0-9._~+/=-]{8,}"
_FIELDS = (
    rb'("(?:access_?[Tt]oken|refresh_?[Tt]oken|id_?[Tt]oken|client_?[Ss]ecret|api_?[Kk]ey|auth_?[Tt]oken'
    rb'|code_?[Vv]erifier|password|x-api-key|[Aa]uthorization)"\s*:\s*")(?:[^"\\]|\\.)+'
)
_SETTING = re.compile(
    r"""((?:"[^"]*|\b[\w.-]*)(?:token|key|secret|password|credential|authorization)[\w-]*"?\s*[:=]\s*)("""
    r""""(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,\[{"'][^\s,}]*)""",
    re.IGNORECASE,
)
_TEXT = re.compile(rb"|".join((_FIELDS, _BEARER, _SHAPES)))


_known: dict[bytes, None] = {}  # in the order of their last use; the process's own; secrets are the same for all of it


@functools.lru_cache(maxsize=1024)
def is_secret_header(name: str) -> bool:
    """Whether a header of this name holds a credential."""
    lower = name.lower()
    if lower in _SECRET_HEADERS:
        return True
    return bool(_SECRET_HEADER_PART.search(lower)) and not _COUNTER_HEADER.search(lower)


def redact_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the same headers in the same order, with the values of secret ones masked."""
    return [(name, MASK if is_secret_header(name) else redact_text(value)) for name, value in headers]


def learn_secret(value: str) -> None:
    """Mask a credential of ours from now on, wherever it stands. Short ones are dummies, or words."""
    secret = value.encode("utf-8", "surrogatepass")
    if len(secret) < _KNOWN_LENGTH:
        return
    _known.pop(secret, None)
    _known[secret] = None
    if len(_known) > _KNOWN_LIMIT:
        del _known[next(iter(_known))]


def mask_own(data: bytes) -> bytes:
    """Return `data` with the credentials of ours masked, and nothing else."""
    for secret in tuple(_known):
        if secret in data:
            data = data.replace(secret, _MASK_BYTES)
    return data


def _mask(match: re.Match[bytes]) -> bytes:
    lead = match.group(1) or match.group(2) or b""
    return lead + _MASK_BYTES


def mask_own_text(text: str) -> str:
    """As `mask_own`, for text."""
    data = text.encode("utf-8", "surrogatepass")
    masked = mask_own(data)
    return text if masked == data else masked.decode("utf-8", "surrogatepass")


def redact_bytes(data: bytes) -> bytes:
    """Return `data` with everything that looks like a credential masked; all else is untouched."""
    return _TEXT.sub(_mask, mask_own(data))


def redact_setting(line: str) -> str:
    """A line of a settings file (JSON or TOML) with the value masked where its name speaks of a secret."""
    return redact_text(_SETTING.sub(rf"\1{MASK}", line))


def redact_text(text: str) -> str:
    """As `redact_bytes`, for text."""
    if len(text) < _SHORTEST:
        return text
    data = text.encode("utf-8", "surrogatepass")
    masked = redact_bytes(data)
    return text if masked == data else masked.decode("utf-8", "surrogatepass")
