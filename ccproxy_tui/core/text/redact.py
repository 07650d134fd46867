"""Masks secrets in headers, URLs, text and bodies before they reach a log, a screen, the clipboard or the disk.

What has a secret's shape is masked wherever it stands. A credential of ours is known by its value from the moment that
it is read, whatever its shape: an upstream may quote a key in its error message. What clients send is never learned:
they could hide any text by sending it as a secret.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from urllib.parse import quote, unquote

from ccproxy_tui.core.text.secret_shapes import KEPT, LEAD, LONGEST, SHAPES, Shape, Where, any_open, by_anchor, starts

MASK = "[redacted]"
_LEAST_LEARNED = 8  # bytes: shorter ones are words
_LONG_URL = 512  # characters; the answer for a longer one is not remembered
_MOST_LEARNED = 128
_SHORTEST = 8  # nothing shorter holds a secret
_SHORT = 4096  # bytes: up to here, looking for what a shape begins with is faster than looking for the shape
_REMEMBERED = 512  # characters
_OPEN = LONGEST + LEAD  # bytes at the end of a text in which a secret may have begun that is not all there
_OVERLAP = 40  # bytes at the end of one secret in which the next one may begin
_MASK_BYTES = MASK.encode()

_SECRET_HEADER = re.compile(
    r"token|secret|passw|pwd|credential|api[-_]?key|cookie|jwt|bearer|assertion|signature|^auth$|authorization|authentication"
    r"|(^|[-_])auth([-_]|$)|(access|account|auth|private|secret|signing|subscription|function|master|admin|service)[-_]?key"
    r"|^key$|^x-key$|^x-functions-key$|^x-sig$",
    re.IGNORECASE,
)
# Header names that hold a counter or a limit of tokens, not a secret.
_COUNTER_HEADER = re.compile(
    r"ratelimit|rate-limit|token-count|token-efficient"
    r"|(input|output|prompt|completion|total|cached?|reasoning|max|used|remaining|billed|num)[-_]tokens"
    r"|tokens[-_](used|remaining|limit|reset|count|total|in|out|consumed|per)",
    re.IGNORECASE,
)

_SETTING = re.compile(
    r"""((?:"[^"]*|\b[\w.-]*)(?:token|key|secret|password|credential|authorization)[\w-]*"?\s*[:=]\s*)("""
    r""""(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s,\[{"'][^\s,}]*)""",
    re.IGNORECASE,
)
# A name of a file, a variable or an address; a line whose value only says where a secret is.
_PLACE_NAME = re.compile(r"""[\w."-]*(?:(?:file|path|env|url|name|type|header)|env_\w+)"?\s*[:=]""", re.IGNORECASE)
_REFERENCE = re.compile(
    r"""[-+ ]*"?[\w.-]+"?\s*[:=]\s*["']?(?:\{(?:env|file):[^{}"]+\}|\$\{[A-Z_0-9]+\}|\$[A-Z_][A-Z_0-9]*)["']?,?"""
)
_SECRET_NAME = re.compile(
    r"token|secret|passw|pwd|passphrase|credential|authorization|cookie|signature|^sig$|^code$|verifier|assertion|jwt"
    r"|(^|[._-])(key|auth|pat)$|api_?key|private_?key|access_?key|account_?key|(?-i:(?<=[a-z])Key$)",
    re.IGNORECASE,
)
_HARMLESS_NAME = re.compile(
    r"max_?tokens|_tokens|tokens_|token_url|token_count|tokens$|key_env$|key_ring$", re.IGNORECASE
)
_URL = re.compile(r"(?P<start>[A-Za-z][A-Za-z0-9+.-]*://)(?P<user>[^/?#\s]*@)?(?P<rest>[^?#]*)(?P<query>.*)", re.DOTALL)

_START = re.compile(starts().encode())
_BY_ANCHOR = by_anchor("glued", "alone", "placed")
_PLACED = by_anchor("placed")
_BEFORE: dict[Where, int] = {"glued": KEPT, "alone": 0, "placed": LEAD}  # bytes that a shape has before its secret
_OPEN_WORD = any_open(starts(), "glued", "alone")
_OPEN_GLUED = any_open(rf"(?<=[A-Za-z0-9])(?=.{{{KEPT + 1}}})", "glued")

# In the order of their last use, with whether a shape masks them, too; the process's own, because its secrets are.
_learned: dict[bytes, bool] = {}
_LATELY = 4  # learned last: nothing has to be made of one that is among them


def learn_secret(*secrets: str) -> None:
    """Mask `secrets` from now on: credentials of this proxy, those of its accounts, its tokens, keys of its settings.

    Short ones are dummies, or words. The one that was not used for longest makes room for a new one.
    """
    for secret in secrets:
        if secret.encode("utf-8", "surrogatepass") in islice(reversed(_learned), _LATELY):  # once a request
            continue
        for spelled in {secret, quote(secret, safe="")}:
            data = spelled.encode("utf-8", "surrogatepass")
            if len(data) < _LEAST_LEARNED:
                continue
            if data not in _learned:
                _redacted.cache_clear()
                _url_masked_once.cache_clear()
            _learned[data] = _learned.pop(data) if data in _learned else _has_shape(data)
            if len(_learned) > _MOST_LEARNED:
                del _learned[next(iter(_learned))]


def _has_shape(secret: bytes) -> bool:
    return any(
        span == (0, len(secret)) for shape in SHAPES if shape.where == "glued" for span in _matches(shape, secret, 0)
    )


def mask_own(data: bytes) -> bytes:
    """Return `data` with the credentials of ours masked, and nothing else."""
    for secret in tuple(_learned):
        if secret in data:
            data = data.replace(secret, _MASK_BYTES)
    return data


def mask_own_text(text: str) -> str:
    """As `mask_own`, for text."""
    data = text.encode("utf-8", "surrogatepass")
    masked = mask_own(data)
    return text if masked == data else masked.decode("utf-8", "surrogatepass")


@functools.lru_cache(maxsize=1024)
def is_secret_header(name: str) -> bool:
    """Whether a header of this name holds a credential."""
    return bool(_SECRET_HEADER.search(name)) and not _COUNTER_HEADER.search(name)


def is_secret_name(name: str) -> bool:
    """Whether a setting, variable or field of this name holds a credential."""
    return bool(_SECRET_NAME.search(name)) and not _HARMLESS_NAME.search(name)


def redact_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The same headers in the same order, with the values of secret ones masked."""
    return [(name, MASK if is_secret_header(name) else redact_text(value)) for name, value in headers]


# --- text ---


def redact_bytes(data: bytes) -> bytes:
    """`data` with everything that is or looks like a credential masked; all else is untouched."""
    spans = secret_spans(data)
    return masked(data, spans) if spans else data


# --- bodies ---

_EVENTS = (b"data:", b"event:", b"id:", b":")  # how a stream of server-sent events begins
_PIECE = re.compile(
    rb'"(text|thinking|partial_json|delta|content|arguments|refusal|reasoning|reasoning_content)"\s*:\s*'
    rb'"((?:[^"\\]|\\.)*)"'
)
_INDEX = re.compile(rb'"(?:index|output_index|content_index)"\s*:\s*(\d+)')

Pieces = list[tuple[int, int]]


def redact_body(data: bytes, *, growing: bool = False) -> bytes:
    """As `redact_bytes`, for a kept body: in a stream of events, a secret may be cut into the texts of several.

    Of one that is `growing`, the beginning of a secret at the end is left out.
    """
    texts = _texts_of_events(data) if data.startswith(_EVENTS) else []
    if growing:
        data = data[: min([_open_end(data, [(0, len(data))]), *(_open_end(data, pieces) for pieces in texts[-1:])])]
    spans = secret_spans(data)
    for pieces in texts:
        spans += _mapped(secret_spans(_join(data, pieces)), pieces)
    return masked(data, _merged(spans)) if spans else data


def _texts_of_events(data: bytes) -> list[Pieces]:
    """Where the pieces of each text are that server-sent events of any dialect build; the latest text is the last."""
    texts: dict[tuple[bytes, ...], Pieces] = {}
    at = 0
    for line in data.splitlines(keepends=True):
        if line.startswith(b"data:"):
            for piece in _PIECE.finditer(line):
                key = (piece[1], *_INDEX.findall(line))
                pieces = texts[key] = texts.pop(key, [])
                pieces.append((at + piece.start(2), at + piece.end(2)))
        at += len(line)
    return list(texts.values())


def _join(data: bytes, pieces: Pieces) -> bytes:
    return b"".join(data[begin:end] for begin, end in pieces)


def _open_end(data: bytes, pieces: Pieces) -> int:
    """Where in `data` the end of a text begins that may be the beginning of a secret."""
    text = _join(data, pieces)
    opened = open_secret(text, 0)
    found = next(_mapped([(opened, len(text))], pieces), None) if opened < len(text) else None
    return len(data) if found is None else found[0]


def _mapped(spans: list[tuple[int, int]], pieces: Pieces) -> Iterator[tuple[int, int]]:
    """Spans of the joined pieces as spans of where the pieces were taken from."""
    before = 0  # bytes of earlier pieces
    for begin, end in pieces if spans else []:
        size = end - begin
        for first, last in spans:
            if first < before + size and last > before and end > begin:
                yield begin + max(first - before, 0), begin + min(last - before, size)
        before += size


def redact_text(text: str) -> str:
    """As `redact_bytes`, for text."""
    if len(text) < _SHORTEST:
        return text
    return _redacted(text) if len(text) <= _REMEMBERED else _redact(text)


def _redact(text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")
    spans = secret_spans(data)
    return masked(data, spans).decode("utf-8", "surrogatepass") if spans else text


_redacted = functools.lru_cache(maxsize=2048)(_redact)  # headers come again and again


def masked(data: bytes, spans: Iterable[tuple[int, int]]) -> bytes:
    """`data` with a mask in place of each span."""
    parts: list[bytes] = []
    at = 0
    for begin, end in spans:
        parts += (data[at:begin], _MASK_BYTES)
        at = end
    return b"".join((*parts, data[at:]))


def redact_setting(line: str) -> str:
    """A line of a settings file (JSON or TOML) with the value masked where its name speaks of a secret."""
    if _REFERENCE.fullmatch(line):
        return line
    return redact_text(_SETTING.sub(_setting_masked, line))


def _setting_masked(match: re.Match[str]) -> str:
    return match[0] if _PLACE_NAME.match(match[0]) else f"{match[1]}{MASK}"


# --- addresses ---


def redact_query(query: str) -> str:
    """A query string (without `?`) or fragment with the values of secret parameters masked."""
    if not query:
        return ""
    return "&".join(map(_redact_parameter, query.split("&")))


def _redact_parameter(parameter: str) -> str:
    name, sign, value = parameter.partition("=")
    if not value:
        return redact_text(parameter)
    plain = unquote(value)
    if is_secret_name(unquote(name)) or redact_text(plain) != plain:
        return f"{name}{sign}{MASK}"
    return f"{redact_text(name)}{sign}{redact_text(value)}"


def redact_url(url: str) -> str:
    """A URL with its user information masked, and secrets of its query, fragment and path."""
    return _url_masked(url) if len(url) > _LONG_URL else _url_masked_once(url)


def _url_masked(url: str) -> str:
    match = _URL.fullmatch(url)
    if match is None:
        return redact_text(url)
    user = f"{MASK}@" if match["user"] else ""
    query = re.sub(r"[^?#]+", lambda part: redact_query(part[0]), match["query"])
    return f"{match['start']}{user}{redact_text(match['rest'])}{query}"


_url_masked_once = functools.lru_cache(maxsize=256)(_url_masked)  # cleared when a secret is learned


# --- where secrets are ---


def secret_spans(data: bytes, start: int = 0) -> list[tuple[int, int]]:
    """Where in `data` secrets are, from `start` on, in order. Spans do not overlap."""
    found: list[tuple[int, int]] = []
    is_short = len(data) <= _SHORT
    for anchor, shapes in _BY_ANCHOR.items():
        if is_short and anchor not in data:
            continue
        for shape in shapes:
            found += _matches(shape, data, start)
    for secret, has_shape in tuple(_learned.items()):  # another thread may learn one
        if not has_shape and secret in data:
            found += _copies(secret, data, start)
    return _merged(found)


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same spans in order, those that overlap in one."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def _matches(shape: Shape, data: bytes, start: int) -> Iterator[tuple[int, int]]:
    at = max(start - _BEFORE[shape.where], 0)
    while (match := shape.whole.search(data, at)) is not None:
        begin, end = match.span(shape.group)
        at = max(match.start() + 1, end - _OVERLAP)
        if shape.where == "glued" and _is_glued(data, begin):
            begin += KEPT
        if begin >= start and (shape.check is None or shape.check(match[shape.group])):
            yield begin, end


def _copies(secret: bytes, data: bytes, start: int) -> Iterator[tuple[int, int]]:
    at = data.find(secret, max(start - KEPT, 0))
    while at >= 0:
        end = at + len(secret)
        begin = at + KEPT if _is_glued(data, at) else at
        if begin >= start:
            yield begin, end
        at = data.find(secret, end)


def _is_glued(data: bytes, at: int) -> bool:
    """Whether what begins at `at` goes on with a word."""
    return _START.match(data, at) is None


def open_secret(data: bytes, start: int) -> int:
    """Where at the end of `data`, from `start` on, a secret may have begun that is not all there; its end if nowhere.

    What is before that is masked as `secret_spans` says, whatever comes next.
    """
    first = len(data)
    start = max(start, first - _OPEN)
    if (match := _OPEN_WORD.search(data, start)) is not None:
        first = match.start()
    if (match := _OPEN_GLUED.search(data, max(start - KEPT, 0))) is not None:
        first = min(first, max(match.start() + KEPT, start))
    for anchor, shapes in _PLACED.items():
        if anchor in data:
            for shape in shapes:
                if (match := shape.open.search(data, max(start - LEAD, 0))) is not None:
                    first = min(first, max(match.start(shape.group), start))
    return min(
        [first, *(_open_copy(secret, data, start) for secret, has_shape in tuple(_learned.items()) if not has_shape)]
    )


def _open_copy(secret: bytes, data: bytes, start: int) -> int:
    at = max(len(data) - len(secret) + 1, start - KEPT, 0)
    while (at := data.find(secret[:1], at)) >= 0:
        begin = at + KEPT if _is_glued(data, at) else at
        if secret.startswith(data[at:]) and begin >= start:
            return min(begin, len(data))
        at += 1
    return len(data)
