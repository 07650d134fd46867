"""A vendor: its token endpoint, whose refresh tokens count once, and its API. Both fail as the weather has it.

The second use of a refresh token ends its whole family, as RFC 9700 (section 4.14.2) has it and Anthropic does. The
vendor keeps account of who spent what, and judges each second use: was it bound to happen, or a fault of ours?
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any

from ccproxy_tui.core.errors import UpstreamCut, UpstreamStalled, UpstreamUnreachable
from ccproxy_tui.core.provider import Answer
from tests.simulation.process import CURRENT, Process

VENDOR: ContextVar[Vendor] = ContextVar("vendor")
_WRITING = 0.1  # seconds in which a program has written what it got; killed in that time, it loses it
_PATIENCE = 14.9  # seconds that every program waits for an answer at least

TOKEN_TROUBLE = ("refused", "500", "429", "garbled", "slow error", "slow", "late", "trickle", "endless", "lost")
_PACES = (5.0, 15.0)  # seconds between two bytes that trickle: less than any silence that ends a connection
_ERROR = b"The service is not available at the moment. Please try again later."
_LOSING = {"trickle", "endless", "lost", "late"}  # a token may be spent, and its successor never come
API_TROUBLE = ("429", "529", "500", "revoked")


@dataclass
class Weather:
    """How often something goes wrong, and which of the things that can."""

    token: float = 0.0
    token_kinds: tuple[str, ...] = ()
    api: float = 0.0
    api_kinds: tuple[str, ...] = ()

    @classmethod
    def drawn(cls, rng: Random) -> Weather:
        harmless = [kind for kind in TOKEN_TROUBLE if kind not in _LOSING]
        kinds = rng.choice([harmless, harmless, harmless, list(TOKEN_TROUBLE)])
        return cls(
            rng.choice([0.0, 0.0, 0.2, 0.6]),
            tuple(rng.sample(kinds, rng.randint(1, len(kinds)))),
            rng.choice([0.0, 0.02, 0.1]),
            tuple(rng.sample(API_TROUBLE, rng.randint(1, len(API_TROUBLE)))),
        )


@dataclass(eq=False)
class Asked:
    """A renewal that a program has asked for. `seen` is the refresh token that the file had then."""

    refresh: str
    by: Process | None
    seen: str
    answer: asyncio.Future[Reply]
    began: float  # by the loop's clock
    unwarned: bool = False  # its successor was kept aside, and no proxy had the time to put it back
    gone: bool = False  # who asked has hung up
    taken: float | None = None  # when the answer had come in whole
    number: int = 0

    @property
    def lost(self) -> bool:
        """Whether the successor came to no program that could have kept it."""
        if self.taken is None:
            return self.gone or self.by is None or self.by.dead or (self.answer.done() and self._failed())
        if self.by is None or not self.by.dead or self.by.wrote >= self.taken:
            return False
        return self.by.killed_at - self.taken < _WRITING

    def is_race(self, other: Asked) -> bool:
        """Whether `other` could not know of it: the file had no successor when `other` began."""
        return other.seen == other.refresh and (self.taken is None or other.began - self.taken < _WRITING)

    def _failed(self) -> bool:
        return self.answer.exception() is not None


@dataclass
class Reply:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    pace: float = 0.0  # seconds between two bytes
    endless: bool = False


@dataclass(eq=False)
class Family:
    """The tokens of one login. `excuse` says why it may die without a fault of ours."""

    name: str
    jwt: bool = False
    lockless: bool = False  # its owner takes no lock
    number: int = 0
    access: dict[str, float] = field(default_factory=dict)  # when each ends, by the true time
    spent: dict[str, Asked] = field(default_factory=dict)
    dead: str = ""
    excuse: str = ""

    @property
    def refresh(self) -> str:
        return f"{self.name}r{self.number}"


class Vendor:
    def __init__(
        self,
        process: Process,
        rng: Random,
        true: Callable[[], float],
        say: Callable[[str, str], None],
        broken: Callable[[str], None],
    ) -> None:
        self.weather = Weather()
        self.lifetime = 900.0  # seconds of an access token
        self.families: dict[str, Family] = {}
        self.on_disk: Callable[[Family], str] = lambda _: ""  # the refresh token that the login's file has now
        self.kept_aside: Callable[[Family, Asked], bool] = lambda *_: False  # no proxy had the time to put it back
        self._process, self._rng, self._true, self._say, self._broken = process, rng, true, say, broken

    # --- tokens ---

    def found(self, *, jwt: bool = False, lockless: bool = False) -> Family:
        """Someone logs in."""
        family = Family(f"{'xyz'[len(self.families) % 3]}{len(self.families)}", jwt, lockless)
        self.families[family.name] = family
        return family

    def tokens(self, family: Family, wall: float) -> dict[str, Any]:
        """New tokens of a family, as the endpoint sends them. `wall` is the time by the client's clock: for a JWT."""
        access = f"{family.name}a{family.number}"
        if family.jwt:
            access = _jwt(access, int(wall + self.lifetime))
        family.access[access] = self._true() + self.lifetime
        return {"access_token": access, "refresh_token": family.refresh, "expires_in": int(self.lifetime)}

    def ask(self, refresh: str, wall: float) -> Asked:
        """A program asks for a renewal; the answer comes later, or not at all."""
        family = self.families[refresh.partition("r")[0]]
        loop = asyncio.get_running_loop()
        asked = Asked(refresh, CURRENT.get(), self.on_disk(family), loop.create_future(), loop.time())
        first = family.spent.get(refresh)
        asked.unwarned = first is not None and self.kept_aside(family, first)
        self._say(asked.by.name if asked.by else "?", f"asks for a renewal of {refresh}")
        self._process.start(self._renew(asked, family, wall))
        return asked

    async def _renew(self, asked: Asked, family: Family, wall: float) -> None:
        draw, weather = self._rng, self.weather
        trouble = draw.choice(weather.token_kinds) if draw.random() < weather.token else ""
        await asyncio.sleep(draw.uniform(0.02, 0.5))
        if asked.gone and draw.random() < 0.5:
            return
        if trouble in ("refused", "500", "429", "garbled", "slow error"):
            return self._refuse(asked, trouble)
        if trouble == "slow":
            await asyncio.sleep(draw.uniform(2, 29))
        reply = self._spend(asked, family, wall)
        await asyncio.sleep(draw.uniform(0.02, 1.5))
        if trouble == "late":
            await asyncio.sleep(draw.uniform(5, 60))
        if trouble == "lost":
            return self._fail(asked, UpstreamCut("the connection was cut"))
        reply.pace = draw.choice(_PACES) if trouble == "trickle" else 0.0
        reply.endless = trouble == "endless"
        if not asked.answer.done():
            asked.answer.set_result(reply)

    def _refuse(self, asked: Asked, trouble: str) -> None:
        self._say("vendor", f"answers {asked.refresh} with {trouble}")
        if asked.answer.done():
            return
        if trouble == "refused":
            return self._fail(asked, UpstreamUnreachable("connection refused"))
        if trouble == "garbled":
            return asked.answer.set_result(Reply(200, [], b"<html>"))
        if trouble == "slow error":
            return asked.answer.set_result(Reply(500, [], _ERROR, pace=self._rng.choice(_PACES)))
        headers = [("retry-after", str(self._rng.randint(1, 120)))] if trouble == "429" else []
        asked.answer.set_result(Reply(int(trouble), headers, b"{}"))

    def hang_up(self, asked: Asked, reply: Reply | None = None) -> None:
        """The program that asked waits no longer, which costs its login when the token is spent."""
        asked.gone = True
        waited = asyncio.get_running_loop().time() - asked.began
        endless = reply is not None and reply.endless
        alive = asked.by is not None and not asked.by.dead
        if alive and asked.taken is None and not asked.answer.cancelled() and not endless and waited < _PATIENCE:
            assert asked.by is not None
            self._broken(f"{asked.by.name} gave up the renewal of {asked.refresh} after {waited:.1f} s")

    def _fail(self, asked: Asked, error: Exception) -> None:
        if not asked.answer.done():
            asked.answer.set_exception(error)
            asked.answer.exception()  # who asked may be gone

    def _spend(self, asked: Asked, family: Family, wall: float) -> Reply:
        refused = Reply(400, [], b'{"error":"invalid_grant"}')
        first = family.spent.get(asked.refresh)
        if first is not None and not family.dead:
            self._judge(family, first, asked)
            family.dead = f"{asked.refresh} was used twice"
            self._say(
                "vendor", f"login {family.name} is dead: {family.dead}{f' ({family.excuse})' * bool(family.excuse)}"
            )
        if family.dead or asked.refresh != family.refresh:
            self._say("vendor", f"refuses {asked.refresh}")
            return refused
        family.number += 1
        asked.number = family.number
        family.spent[asked.refresh] = asked
        self._say("vendor", f"renews {asked.refresh} to {family.refresh}")
        return Reply(200, [], json.dumps(self.tokens(family, wall)).encode())

    def _judge(self, family: Family, first: Asked, second: Asked) -> None:
        if family.excuse:
            return
        by = [one.by.name if one.by else "?" for one in (first, second)]
        left = second.gone or (second.by is not None and second.by.dead)
        if first.lost or (left and second.began <= first.began):
            family.excuse = "an answer was lost on its way"
        elif by[1].startswith("tool") and second.seen == second.refresh and self._was_unwarned(family, first, second):
            family.excuse = "the tool came before any proxy could put back what it kept"
        elif family.lockless and any(one.startswith("tool") for one in by) and first.is_race(second):
            family.excuse = "its owner takes no lock"
        else:
            self._broken(f"{second.refresh} was spent by {by[0]} and again by {by[1]}")

    def _was_unwarned(self, family: Family, first: Asked, second: Asked) -> bool:
        return second.unwarned or self.kept_aside(family, first)

    # --- the API ---

    def lives(self, access: str) -> bool:
        family = next((one for one in self.families.values() if access in one.access), None)
        return family is not None and not family.dead and self._true() < family.access[access]

    async def serve(self, access: str) -> Answer:
        """The answer to a request with an access token."""
        draw, weather = self._rng, self.weather
        await asyncio.sleep(draw.uniform(0.01, 1.0))
        trouble = draw.choice(weather.api_kinds) if draw.random() < weather.api else ""
        if trouble == "revoked":
            for family in self.families.values():
                if family.access.pop(access, None):
                    self._say("vendor", f"revokes {access[:12]}")
        if not self.lives(access):
            return _whole(401, [], b"{}")
        if trouble in ("429", "529", "500"):
            headers = [("retry-after", str(draw.randint(1, 300)))] if draw.random() < 0.7 else []
            return _whole(int(trouble), headers, b"{}")
        return _whole(200, [], b"{}")


class TokenConnection:
    """In the place of the product's `Upstream`: one renewal over the simulated network."""

    def __init__(self, name: str, base_url: str, http: Any) -> None:
        self._silence: float = http.read_timeout

    async def send(self, method: str, url: str, headers: Any, body: bytes) -> Answer:
        vendor = VENDOR.get()
        asked = vendor.ask(_refresh_of(body), WALL.get()())
        try:
            async with asyncio.timeout(self._silence):
                reply = await asyncio.shield(asked.answer)
        except TimeoutError:
            vendor.hang_up(asked)
            raise UpstreamStalled("no byte came") from None
        except asyncio.CancelledError:
            vendor.hang_up(asked)
            raise
        return Answer(reply.status, reply.headers, _stream(asked, reply), partial(vendor.hang_up, asked, reply))

    async def close(self) -> None:
        await asyncio.sleep(0.001)


WALL: ContextVar[Callable[[], float]] = ContextVar("wall")


async def _stream(asked: Asked, reply: Reply) -> AsyncIterator[bytes]:
    try:
        while reply.endless:
            await asyncio.sleep(0.01)
            yield b" " * 65536
        if reply.pace:
            for index in range(len(reply.body) - 1):
                await asyncio.sleep(reply.pace)
                yield reply.body[index : index + 1]
        asked.taken = asyncio.get_running_loop().time()
        yield reply.body[-1:] if reply.pace else reply.body
    finally:
        VENDOR.get().hang_up(asked, reply)


def _refresh_of(body: bytes) -> str:
    text = body.decode()
    if text.startswith("{"):
        return str(json.loads(text)["refresh_token"])
    return dict(pair.split("=") for pair in text.split("&"))["refresh_token"]


def _whole(status: int, headers: list[tuple[str, str]], body: bytes) -> Answer:
    async def given() -> AsyncIterator[bytes]:
        yield body

    return Answer(status, headers, given())


def _jwt(name: str, ends: int) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": ends, "n": name}).encode()).decode().rstrip("=")
    return f"e30.{claims}.s"


def jwt_end(token: str) -> float:
    """When a token of `_jwt` ends, in seconds since the epoch; 0 for none."""
    if not token:
        return 0.0
    claims = token.split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["exp"])
