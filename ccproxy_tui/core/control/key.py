"""The key of one running proxy for its control API over TCP, and what is proved with it.

The key is made at each start and lies in the runtime folder, for this user alone. It never travels. A front end asks
whoever listens on the port to prove the key first (`prove`), on each connection; then it signs each request with it
(`sign`). Both name the address that the front end has connected to: a program that squats on another address of the
port can't have the real proxy prove or accept anything in its place. A request counts once, within `WINDOW` seconds.

A proxy on another machine, or behind a forwarded port, has another address than the one that was dialled; its front
end would have to learn that address and the key from there.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.files import replace_file, unlink_link
from ccproxy_tui.core.system.paths import Paths, private_dir, read_ours

HEADER = "x-ccproxy-control"
PROOF_PATH = "/control/proof"
WINDOW = 30.0  # seconds
_KEY_BYTES = 32
_MOST_SEEN = 20_000  # signed requests within two windows; a front end sends a few a second


class BadProof(Exception):
    """Not signed with the key of this proxy, or not for this request, address and time."""


class Signed(msgspec.Struct, array_like=True):
    """What the header says about a request, besides the signature."""

    time: float
    nonce: str
    digest: str  # SHA-256 of the body


@dataclass(frozen=True, slots=True)
class ControlKey:
    secret: bytes

    def _mac(self, *parts: str | float) -> str:
        """Return an HMAC-SHA256 (RFC 2104) over the parts; JSON keeps them apart."""
        return hmac.new(self.secret, msgspec.json.encode(parts), hashlib.sha256).hexdigest()

    def prove(self, nonce: str, address: str) -> str:
        """Return what shows that the proxy at `address` has the key. `nonce` is the front end's."""
        return self._mac("proof", nonce, address)

    def sign(self, method: str, target: str, body: bytes, address: str, now: float) -> str:
        """Return the header for a request of `target` (path and query) to the proxy at `address`."""
        signed = Signed(now, secrets.token_hex(16), hashlib.sha256(body).hexdigest())
        return f"{msgspec.json.encode(signed).decode()} {self._signature(signed, method, target, address)}"

    def _signature(self, signed: Signed, method: str, target: str, address: str) -> str:
        return self._mac("request", method, target, address, signed.time, signed.nonce, signed.digest)

    def read(self, header: str, method: str, target: str, address: str) -> Signed:
        """Return what the header says. Raises BadProof unless it was signed for this very request."""
        text, _, signature = header.rpartition(" ")
        try:
            signed = msgspec.json.decode(text, type=Signed)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            raise BadProof("It is not signed.") from error
        expected = self._signature(signed, method, target, address)
        if not hmac.compare_digest(signature.encode("utf-8", "replace"), expected.encode()):
            raise BadProof("It is signed with another key, or for another request.")
        return signed


class ProofReader:
    """The proxy's side: accepts a signed request once."""

    def __init__(self, key: ControlKey, clock: Clock) -> None:
        self.key = key
        self._clock = clock
        self._seen: dict[str, float] = {}  # nonce -> when it may be forgotten, by since_boot, the oldest first

    def accept(self, header: str, method: str, target: str, address: str) -> str:
        """Return the digest that the body must have. Raises BadProof."""
        signed = self.key.read(header, method, target, address)
        now = self._clock.since_boot()
        if abs(self._clock.now() - signed.time) > WINDOW:
            raise BadProof("It was signed at another time.")
        while self._seen and next(iter(self._seen.values())) < now:
            del self._seen[next(iter(self._seen))]
        if signed.nonce in self._seen or len(self._seen) >= _MOST_SEEN:
            raise BadProof("It has been used already.")
        self._seen[signed.nonce] = now + 2 * WINDOW
        return signed.digest


def address_text(host: str, port: int) -> str:
    """Return an address as both ends write it, however each of them came to see it."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    return f"{getattr(ip, 'ipv4_mapped', None) or ip} {port}"


def is_digest(digest: str, body: bytes) -> bool:
    return hmac.compare_digest(hashlib.sha256(body).hexdigest(), digest)


# --- where it lies ---


def _file(folder: Path, port: int) -> Path:
    return folder / f"{port}.key"


def new_key() -> ControlKey:
    return ControlKey(secrets.token_bytes(_KEY_BYTES))


def keep_key(folder: Path, port: int, key: ControlKey) -> None:
    """Write the key to a runtime folder. Raises OSError."""
    private_dir(folder)
    unlink_link(_file(folder, port))
    replace_file(_file(folder, port), key.secret, mode=0o600)


def drop_key(folder: Path, port: int, key: ControlKey) -> None:
    """Remove the file, unless a newer proxy on the port has put its own there."""
    if _read(_file(folder, port)) == key:
        _file(folder, port).unlink(missing_ok=True)


def find_key(paths: Paths, port: int) -> ControlKey | None:
    """Return the key of the proxy on `port`, if this user runs one there."""
    return next(filter(None, (_read(_file(folder, port)) for folder in paths.runtimes)), None)


def _read(path: Path) -> ControlKey | None:
    try:
        secret = read_ours(path)
    except OSError:
        return None
    return ControlKey(secret) if len(secret) == _KEY_BYTES else None
