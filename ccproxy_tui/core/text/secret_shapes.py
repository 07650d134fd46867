"""What secrets look like: shapes that issuers made recognisable on purpose, and places where a secret stands.

Each shape is written once, as a sequence of parts, and gives two patterns: one for the whole secret, and one for text
that ends in the middle of it. Sources of the formats: GitHub's list of secret scanning patterns
(https://docs.github.com/en/code-security/secret-scanning/introduction/supported-secret-scanning-patterns), RFC 7468
(PEM), RFC 7519 (JWT), RFC 3986, section 3.2.1 (user information in a URL).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

LONGEST = 8 * 1024  # bytes of a secret that is looked for while it comes
_RUN = 4 * 1024  # bytes of one part of a secret
KEPT = 3  # bytes that stay visible of a secret that is glued to a word: a word may end in them
LEAD = 256  # bytes before a secret that can belong to its shape

_WORD = "A-Za-z0-9_-"
_ALNUM = "A-Za-z0-9"
_BASE64 = "A-Za-z0-9+/="


@dataclass(frozen=True, slots=True)
class Run:
    """Bytes of one class (the inside of a bracket expression)."""

    chars: str
    least: int
    most: int = _RUN


@dataclass(frozen=True, slots=True)
class OneOf:
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Raw:
    """Any pattern; `open` matches every beginning of what `whole` matches."""

    whole: str
    open: str = ""


Part = str | Run | OneOf | Raw
# glued: also inside a word; alone: only where a word could begin; placed: the first parts say that a secret follows.
Where = Literal["glued", "alone", "placed"]


@dataclass(frozen=True, slots=True)
class Shape:
    """`anchor` is in every text that holds one, `whole` has it in its last group.

    `opened` is a pattern for text that ends in the middle of one; `open` finds that behind what leads to it.
    """

    where: Where
    anchor: bytes
    whole: re.Pattern[bytes]
    opened: str
    open: re.Pattern[bytes]
    check: Callable[[bytes], bool] | None = None

    @property
    def group(self) -> int:
        return self.whole.groups


# Letters before a secret that are no letters: escapes of JSON and of URLs.
_STARTS = (r"(?<![A-Za-z0-9]{0})", r"(?<=\\[bfnrt]{0})", r"(?<=\\u[0-9A-Fa-f]{{4}}{0})", r"(?<=%[0-9A-Fa-f]{{2}}{0})")


def starts(after: str = "") -> str:
    """A pattern for a place where a word may begin, looked back at from behind `after`."""
    return "(?:" + "|".join(one.format(after) for one in _STARTS) + ")"


def _whole(part: Part) -> str:
    match part:
        case str():
            return re.escape(part)
        case Run():
            return f"[{part.chars}]{{{part.least},{part.most}}}"
        case OneOf():
            return f"(?:{'|'.join(map(re.escape, part.words))})"
        case Raw():
            return part.whole


def _open(parts: tuple[Part, ...]) -> str:
    """A pattern for every beginning of the parts, up to the end of the text; the whole of them, too."""
    if not parts:
        return r"\Z"
    first, rest = parts[0], _open(parts[1:])
    match first:
        case str():
            pattern = rest
            for char in reversed(first):
                pattern = rf"(?:\Z|{re.escape(char)}{pattern})"
            return pattern
        case Run():
            return rf"(?:[{first.chars}]{{0,{first.most}}}\Z|{_whole(first)}{rest})"
        case OneOf():
            return "(?:" + "|".join(_open((word, *parts[1:])) for word in first.words) + ")"
        case Raw(open=""):
            return rest  # it only looks ahead
        case Raw():
            return rf"(?:{first.open}\Z|{first.whole}{rest})"


def _glued(*parts: Part) -> Shape:
    return _shape("glued", "", (), parts)


def _alone(first: str, *parts: Part) -> Shape:
    return _shape("alone", "", (), (first, Raw(starts(re.escape(first))), *parts))


def _placed(lead: tuple[Part, ...], *parts: Part, check: Callable[[bytes], bool] | None = None) -> Shape:
    return _shape("placed", "".join(map(_whole, lead)), lead, parts, check)


def _shape(
    where: Where,
    before: str,
    lead: tuple[Part, ...],
    parts: tuple[Part, ...],
    check: Callable[[bytes], bool] | None = None,
) -> Shape:
    first = (*lead, *parts)[0]
    assert isinstance(first, str)  # searching for a literal is fast
    opened = _open(parts)
    return Shape(
        where,
        str(first).encode(),
        re.compile(f"{before}({''.join(map(_whole, parts))})".encode()),
        opened,
        re.compile(f"{before}(?=.)({opened})".encode(), re.DOTALL),
        check,
    )


def _has_digit(within: int) -> Raw:
    return Raw(f"(?=[A-Za-z_-]{{0,{within}}}[0-9])")


def _is_basic(value: bytes) -> bool:
    """Whether it is a user and a password in base64 (RFC 7617), and no word."""
    try:
        return b":" in base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except ValueError:
        return False


def _is_no_word(value: bytes) -> bool:
    """Whether it can't be a word of a language: `bearer certificates`."""
    text = value.rstrip(b".")
    return not text.isalpha() or len(text) >= 24 or not (text.islower() or text.istitle())


# The inside of a string of JSON; group 1 says that the JSON is itself in a string.
_QUOTED = Raw(
    r'(?(1)(?:[^"\\]|\\[^"\\]){1,8192}|(?:[^"\\]|\\.){1,8192})',
    r'(?(1)(?:[^"\\]|\\[^"\\]){0,8192}|(?:[^"\\]|\\.){0,8192})\\?',
)


def _field(tail: str, *names: str) -> Shape:
    """A field of a JSON object, by how its name ends; `tail` is the end that all of `names` share."""
    behind = Raw("(?:" + "|".join(f"(?<={name})" for name in names) + ")")
    return _placed((tail, behind, Raw(r'(\\)?"\s{0,8}:\s{0,8}(?(1)\\)"')), _QUOTED)


_NAMES = """
key api_key api-key apikey token access_token refresh_token id_token auth_token session_token auth jwt assertion secret
client_secret client_assertion password passwd pwd code code_verifier sig signature
X-Amz-Signature X-Amz-Security-Token X-Amz-Credential X-Goog-Signature X-Goog-Credential
"""
_QUERY = OneOf(tuple(_NAMES.split()))
_BETWEEN = Run(r"\s\"'\\:=", 1, 12)  # a name and its value
_PEM = r"(?:[A-Za-z0-9+/=\s\\:,.]|-(?!-))"

SHAPES: tuple[Shape, ...] = (
    _glued("sk-", OneOf(("ant-", "proj-", "svcacct-", "admin-", "or-")), Run(_WORD, 16)),  # Anthropic, OpenAI
    _alone("sk-", _has_digit(48), Run(_WORD, 16)),  # OpenAI's older ones, and their imitators
    _glued("gh", Run("opsur", 1, 1), "_", Run(_ALNUM, 20)),  # GitHub
    _glued("github_pat_", Run("A-Za-z0-9_", 20)),
    _glued("gl", OneOf(("pat", "ptt", "rt", "dt", "soat", "cbt", "ft", "imt", "agent")), "-", Run(_WORD, 20)),  # GitLab
    _glued("AKIA", Run("A-Z0-9", 16)),  # AWS
    _glued("ASIA", Run("A-Z0-9", 16)),
    _glued("AIza", Run(_WORD, 30)),  # Google
    _glued("ya29.", Run(_WORD, 20)),
    _glued("xox", Run("abeoprs", 1, 1), "-", Run("A-Za-z0-9-", 10)),  # Slack
    _glued("xapp-", Run(_WORD, 20)),
    _glued("eyJ", Run(_WORD, 8), ".", Run(_WORD, 8), ".", Run(_WORD, 0)),  # JSON web tokens
    _glued("npm_", Run(_ALNUM, 36)),
    _glued("pypi-", Raw("(?=[a-z-]{0,48}[A-Z0-9])"), Run(_WORD, 32)),
    _glued("hf_", Run(_ALNUM, 30)),  # Hugging Face
    _glued("gsk_", Run(_ALNUM, 20)),  # Groq
    _glued("xai-", _has_digit(48), Run(_ALNUM, 20)),
    _glued("pplx-", _has_digit(48), Run(_ALNUM, 32)),  # Perplexity
    _glued("tvly-", OneOf(("dev-", "prod-", "")), _has_digit(48), Run(_ALNUM, 16)),  # Tavily
    _glued("nvapi-", Run(_WORD, 32)),  # NVIDIA
    _glued("r8_", Run(_ALNUM, 30)),  # Replicate
    _glued("sk_", OneOf(("live", "test", "prod")), "_", Run(_ALNUM, 10)),  # Stripe
    _glued("rk_", OneOf(("live", "test", "prod")), "_", Run(_ALNUM, 10)),
    _glued("whsec_", Run(_BASE64, 20)),
    _glued("SG.", Run(_WORD, 16, 64), ".", Run(_WORD, 16)),  # SendGrid
    _glued("do", Run("opr", 1, 1), "_v1_", Run("0-9a-f", 32)),  # DigitalOcean
    _glued("shp", OneOf(("at", "ss", "ca", "pa")), "_", Run(_ALNUM, 32)),  # Shopify
    _alone("sq0", Run("a-z", 3, 3), "-", Run(_WORD, 22)),  # Square
    _alone("SK", Run("0-9a-f", 32, 32), Raw("(?![A-Za-z0-9])")),  # Twilio
    _alone("AC", Run("0-9a-f", 32, 32), Raw("(?![A-Za-z0-9])")),
    _glued("AGE-SECRET-KEY-1", Run("A-Z0-9", 20)),
    _placed((":AA", Raw("(?<=[0-9]{8}:AA)")), Run(_WORD, 30)),  # Telegram
    _placed(("hooks.slack.com/", Run("a-z", 3, 16), "/"), Run("A-Za-z0-9/_-", 16)),
    _placed(("discord", OneOf(("", "app")), ".com/api/webhooks/", Run("0-9", 5, 25), "/"), Run(_WORD, 20)),
    _placed(("AccountKey=",), Run(_BASE64, 20)),  # Azure
    _placed(("SharedAccess", OneOf(("Key", "Signature")), "="), Run("A-Za-z0-9+/=%&-", 20)),
    _placed(
        ("ecret", OneOf(("_access_key", "AccessKey", "_key", "Key")), _BETWEEN),
        Run("A-Za-z0-9+/", 40, 40),
        Raw("(?![A-Za-z0-9+/=])"),
    ),
    _placed(("SECRET_", OneOf(("ACCESS_KEY", "KEY")), _BETWEEN), Run("A-Za-z0-9+/", 40, 40), Raw("(?![A-Za-z0-9+/=])")),
    _placed(
        ("-----BEGIN ", Run("A-Z0-9 ", 0, 24), "PRIVATE KEY", OneOf(("", " BLOCK")), "-----"),
        Raw(r"(?=(?:\s|\\[nrt]){0,8}(?:[A-Za-z0-9+/=]{16}|[A-Z][A-Za-z-]{2,20}: ))"),
        Raw(f"{_PEM}{{16,{LONGEST}}}", f"{_PEM}{{0,{LONGEST}}}"),
    ),
    _placed(("://", Run(r"^\s/:@\"'<>\\?#", 0, 64), ":"), Run(r"^\s/\"'<>\\?#", 1, 512), Raw("(?=@)")),
    _placed(("://",), Run(r"^\s/:@\"'<>\\?#", 16, 512), Raw("(?=@)")),
    _placed(("earer", OneOf((" ", "  ", "%20"))), Run("A-Za-z0-9._~+/=-", 8), check=_is_no_word),
    _placed(("asic", OneOf((" ", "  ", "%20"))), Run("A-Za-z0-9+/=", 8), check=_is_basic),
    *(_placed((sign, _QUERY, "="), Run(r"^\s&#\"'<>\\`;", 6)) for sign in "?&#"),
    _field("oken", *(f"{name}{sign}oken" for name in ("access", "refresh", "id", "auth", "session", "csrf")
                       for sign in ("_t", "-t", "T", "t"))),
    _field("TOKEN", "_TOKEN"),
    _field("ey", "api_key", "api-key", "apiKey", "apikey", "private_key", "privateKey", "secret_key", "secretKey",
             "access_key", "accessKey", "account_key", "accountKey"),
    _field("KEY", "API_KEY", "SECRET_KEY", "ACCESS_KEY", "PRIVATE_KEY"),
    _field("ecret", "_secret", "-secret", "tSecret", '"secret'),
    _field("SECRET", "_SECRET"),
    _field("assword", "assword"),
    _field("ASSWORD", "ASSWORD"),
    _field("erifier", "code_verifier", "codeVerifier"),
    _field("uthorization", "uthorization"),
)  # fmt: skip


def by_anchor(*where: Where) -> dict[bytes, list[Shape]]:
    """Shapes by what must be in a text that holds one."""
    found: dict[bytes, list[Shape]] = {}
    for shape in SHAPES:
        if shape.where in where:
            found.setdefault(shape.anchor, []).append(shape)
    return found


def any_open(before: str, *where: Where) -> re.Pattern[bytes]:
    """A pattern for text that ends in the middle of any of these shapes, behind `before`."""
    opened = "|".join(shape.opened for shape in SHAPES if shape.where in where)
    return re.compile(f"{before}(?=.)(?:{opened})".encode(), re.DOTALL)
