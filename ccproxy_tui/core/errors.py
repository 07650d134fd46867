"""The one tree of errors. `core.formats.errors` renders any of them in a client's dialect.

ProxyError
├── InvalidRequest      400  the client sent something that can't be served; names the field
│   ├── BodyTooLarge    413
│   ├── RequestTimeout  408
│   ├── HeadersTooLarge 431
│   ├── TooManySessions 429  one client holds more of something than its share
│   ├── TooMuchMemory   429  its large requests hold more memory than its share
│   └── WrongMediaType  415
├── Unauthorized        401  the proxy's own token is missing or wrong
├── NoCredentials       401  no account of the provider can serve
├── TooManyRequests     429  a client has more permission requests waiting than its share
├── NoAccountServes     429  every account rests by the person's own rules: set aside, or its plan only
├── Forbidden           403  Host or Origin not allowed
├── RouteNotFound       404
├── MethodNotAllowed    405
├── UpstreamError            the upstream answered, or failed to
│   ├── UpstreamUnreachable  502
│   ├── UpstreamGarbled      502  it spoke something that is not HTTP, or not the dialect
│   ├── UpstreamRefused     its  it answered with an error of its own
│   ├── UpstreamCut          502  it stopped in the middle of an answer
│   └── UpstreamStalled      504  it went silent for longer than allowed
├── Draining            503  the proxy is shutting down
└── Stopped             499  a person stopped the exchange
"""

from __future__ import annotations

from typing import ClassVar, Literal

ErrorKind = Literal[
    "invalid_request",
    "authentication",
    "billing",
    "permission",
    "not_found",
    "too_large",
    "rate_limit",
    "overloaded",
    "timeout",
    "api",
]


class ProxyError(Exception):
    """An error with everything a client and a person need.

    `message` goes to the client, `hint` is the next step for a person and is appended to it.
    """

    status: ClassVar[int] = 500
    kind: ClassVar[ErrorKind] = "api"

    def __init__(self, message: str, *, hint: str = "", field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field
        self.code = ""
        self.provider = ""

    @property
    def text(self) -> str:
        """Message and next step, as one sentence or two."""
        return f"{self.message} {self.hint}".strip()


class InvalidRequest(ProxyError):
    status = 400
    kind: ClassVar[ErrorKind] = "invalid_request"


class BodyTooLarge(InvalidRequest):
    status = 413
    kind = "too_large"


class RequestTimeout(InvalidRequest):
    status = 408
    kind = "timeout"


class TooManySessions(InvalidRequest):
    status = 429
    kind = "rate_limit"


class TooMuchMemory(InvalidRequest):
    status = 429
    kind = "rate_limit"


class HeadersTooLarge(InvalidRequest):
    status = 431


class WrongMediaType(InvalidRequest):
    status = 415


class Unauthorized(ProxyError):
    status = 401
    kind = "authentication"


class TooManyRequests(ProxyError):
    status = 429
    kind = "rate_limit"


class NoCredentials(ProxyError):
    status = 401
    kind = "authentication"


class NoAccountServes(ProxyError):
    status = 429
    kind = "rate_limit"


class Forbidden(ProxyError):
    status = 403
    kind = "permission"


class RouteNotFound(ProxyError):
    status = 404
    kind = "not_found"


class MethodNotAllowed(ProxyError):
    status = 405
    kind = "invalid_request"


class UpstreamError(ProxyError):
    status = 502


class UpstreamRefused(UpstreamError):
    """The upstream said no. Its status, kind and words are the client's to know; so are `headers` (retry-after)."""

    def __init__(
        self, status: int, kind: ErrorKind, message: str, *, code: str = "", headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status  # type: ignore[misc]  # a class variable of the others; this one speaks for the upstream
        self.kind = kind  # type: ignore[misc]
        self.code = code
        self.headers = headers


class UpstreamUnreachable(UpstreamError):
    pass


class UpstreamGarbled(UpstreamError):
    pass


class UpstreamCut(UpstreamError):
    pass


class UpstreamStalled(UpstreamError):
    status = 504
    kind = "timeout"


class Draining(ProxyError):
    status = 503
    kind = "overloaded"


class Stopped(ProxyError):
    status = 499
    kind = "api"
