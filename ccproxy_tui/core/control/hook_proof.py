"""How a hook command knows that the proxy has answered, and not a program that squats on its port or socket.

The key of the install is in a file for the user alone. A request carries a nonce; the answer carries an HMAC-SHA256
(RFC 2104) over the nonce, the path, and the digests of the request and of the answer. Another user can't make it. A
program of the same user can read the key: that is not held against it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from pathlib import Path

from ccproxy_tui.core.system.files import Room, sweep
from ccproxy_tui.core.system.paths import Paths, private_dir, read_ours

NONCE = "x-ccproxy-nonce"
PROOF = "x-ccproxy-proof"
LONGEST_NONCE = 128
_BYTES = 32


def key_file(paths: Paths) -> Path:
    return paths.state / "hook.key"


def install_key(paths: Paths) -> bytes:
    """Return the key of this install; made at the first call. Raises OSError."""
    private_dir(paths.state)
    path = key_file(paths)
    sweep(path)
    if (key := read_key(path)) is not None:
        return key
    path.unlink(missing_ok=True)  # readable by others, or half of one
    with Room(path, _BYTES, mode=0o600) as room:
        room.fill_first(secrets.token_bytes(_BYTES))  # where another proxy was quicker, its key counts
    key = read_key(path)
    if key is None:
        raise OSError(f"{path} holds no key")
    return key


def read_key(path: Path) -> bytes | None:
    """Return the key in a file of this user alone; None where there is none."""
    try:
        if path.lstat().st_mode & 0o077:
            return None
        key = read_ours(path)
    except OSError:
        return None
    return key if len(key) == _BYTES else None


def prove(key: bytes, nonce: str, path: str, request: bytes, answer: bytes) -> str:
    """Return what shows that the holder of the key gave this answer to this request."""
    said = ["ccproxy hook", nonce, path, hashlib.sha256(request).hexdigest(), hashlib.sha256(answer).hexdigest()]
    return hmac.new(key, "\n".join(said).encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def proves(given: str, key: bytes, nonce: str, path: str, request: bytes, answer: bytes) -> bool:
    expected = prove(key, nonce, path, request, answer)
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
