"""A vendor's login as its own program sees it: TLS for its hosts, and refresh tokens that count once.

`Family` is what the vendor knows of one login: the second use of a refresh token ends the whole family, as RFC 9700
(section 4.14.2) has it and Anthropic does.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOSTS = ("platform.claude.com", "console.anthropic.com", "api.anthropic.com", "claude.ai")


class Family:
    """The tokens of one login. `seconds` is how long a renewal takes; `dead` says why nothing works any more."""

    def __init__(self, refresh: str, *, seconds: float = 0.0) -> None:
        self.refresh = refresh
        self.seconds = seconds
        self.access: set[str] = set()
        self.renewals = 0
        self.used: set[str] = set()
        self.dead = ""

    async def renew(self, refresh: str) -> tuple[int, dict[str, Any]]:
        """Status and body of a token request. The old token is spent before the answer is on its way."""
        if refresh in self.used:
            self.dead = f"{refresh} was used twice"
        if self.dead or refresh != self.refresh:
            return 400, {"error": "invalid_grant", "error_description": "Refresh token not found or invalid"}
        self.used.add(refresh)
        self.renewals += 1
        self.refresh = f"{refresh.partition('+')[0]}+{self.renewals}"
        access = f"sk-ant-oat01-of-{self.refresh}"
        self.access.add(access)
        await asyncio.sleep(self.seconds)
        fresh = {"access_token": access, "refresh_token": self.refresh, "expires_in": 28_800}
        return 200, {**fresh, "token_type": "Bearer", "scope": "user:inference user:profile"}

    def answer(self, authorization: str) -> tuple[int, dict[str, Any]]:
        """Status and body of an API request: a small message for a token that lives."""
        if self.dead or authorization.removeprefix("Bearer ") not in self.access:
            return 401, {"type": "error", "error": {"type": "authentication_error", "message": "Invalid token"}}
        usage = {"input_tokens": 1, "output_tokens": 1}
        content = [{"type": "text", "text": "hello"}]
        message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": content}
        return 200, {**message, "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}


class Vendor:
    """An HTTPS proxy on loopback that is every host of the vendor at once; `family` answers."""

    def __init__(self, folder: Path, family: Family) -> None:
        self.family = family
        self.ca, self._context = _certificate(folder)
        self._server: asyncio.Server | None = None
        self.url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ValueError):
            first = await reader.readuntil(b"\r\n\r\n")
            if first.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
                await writer.drain()
                await writer.start_tls(self._context)
                first = await reader.readuntil(b"\r\n\r\n")
            await self._serve(first, reader, writer)
        writer.close()

    async def _serve(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        body = await reader.readexactly(int(headers.get("content-length") or 0))
        if "/token" in lines[0]:
            status, answer = await self.family.renew(json.loads(body)["refresh_token"])
        elif "/v1/messages" in lines[0]:
            status, answer = self.family.answer(headers.get("authorization", ""))
        else:
            status, answer = 404, {"type": "error", "error": {"type": "not_found_error", "message": "no"}}
        data = json.dumps(answer).encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n"
            f"connection: close\r\ncontent-length: {len(data)}\r\n\r\n".encode()
            + data
        )
        await writer.drain()


def _certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """A certificate of its own authority for all hosts."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a vendor in a test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    ca, private = folder / "ca.pem", folder / "key.pem"
    ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(ca, private)
    return ca, context
