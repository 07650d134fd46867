"""Read a URL as the client that fetches it does: by the WHATWG URL standard, not by RFC 3986. Pure.

A client takes a backslash for a slash, drops tabs and line ends, decodes `%2e` in a host and reads `0x7f.1` as
127.0.0.1 (https://url.spec.whatwg.org/#url-parsing). The host that it would connect to is returned for all of these,
but only a URL in the plain form `scheme://host[:port][/...]` is read for certain: every other one has a `problem`, no
rule allows it, and a card marks it.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from ccproxy_tui.core.text.escape import HIDDEN, has_hidden

_SPECIAL = frozenset({"http", "https", "ws", "wss", "ftp"})  # `file` is special, too, and has no host of interest
_ENDS = "".join(map(chr, range(0x21)))  # what is cut from both ends
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_PLAIN = re.compile(r"[A-Za-z]+://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::[0-9]{1,5})?(?:/.*|[?#][^@]*)?", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f#%/:<>?@\[\\\]^|]")  # "forbidden domain code points"
_SELECTORS = re.compile("[\ufe00-\ufe0f]")  # of variants of a character; a domain name has none
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_LONGEST_HOST, _LONGEST = 253, 64 * 1024  # characters
_LARGEST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class Url:
    """`host` is ASCII in lower case, IPv6 without brackets; empty where there is none or a client refuses the URL.

    `problem` tells why the URL is not read for certain; empty when it is.
    """

    scheme: str
    host: str
    problem: str = ""

    @property
    def readable(self) -> bool:
        return not self.problem


def read_url(text: str) -> Url:
    """Return the scheme and host that a client reads from `text`, which may be any text at all."""
    if len(text) > _LONGEST:
        return Url("", "", "it is too long to be read")
    cut = re.sub(r"[\t\n\r]", "", text.strip(_ENDS))
    match = _SCHEME.match(cut)
    if match is None:
        return Url("", "", "it names no scheme")
    scheme, rest = match[1].lower(), cut[match.end() :]
    if scheme not in _SPECIAL:
        return Url(scheme, _other_host(rest), f"{scheme}: is not fetched from a web server")
    authority = re.split(r"[/\\?#]", rest.lstrip("/\\"), maxsplit=1)[0]
    host = _host(authority)
    return Url(scheme, host, _problem(text, authority, host))


def _problem(text: str, authority: str, host: str) -> str:
    """The first reason to doubt that every client reads `host`; empty where there is none."""
    if "\\" in text:
        return "it holds a backslash, which clients read as a slash"
    if re.search(r"[\x00-\x20\x7f]", text) or has_hidden(text) or any(map(str.isspace, text)):
        return "it holds spaces, line ends or characters that are not shown"
    if "@" in authority:
        return "it holds a user name before the host"
    if not host:
        return "it names no host that a client would take"
    match = _PLAIN.fullmatch(text)
    if match is None:
        return "it is not written as scheme://host/path in plain letters"
    if match[1].strip("[]").lower() != host:
        return "its host is written in an unusual way"
    return "" if ":" in host or _is_address(host) or _is_name(host) else "its host is not a plain name"


def _is_address(host: str) -> bool:
    try:
        return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False


def _is_name(host: str) -> bool:
    """Whether each label is letters, digits and inner hyphens, and what is in punycode is what it decodes to."""
    labels = host.split(".")
    return len(host) <= _LONGEST_HOST and all(
        _LABEL.fullmatch(label) and (not label.startswith("xn--") or _is_punycode(label)) for label in labels
    )


def _is_punycode(label: str) -> bool:
    """Whether a label decodes to plain letters of a script that is written from left to right, and back to itself."""
    try:
        decoded = label[4:].encode("ascii").decode("punycode")
        encoded = decoded.encode("punycode").decode("ascii")
    except UnicodeError:
        return False
    return (
        encoded == label[4:]
        and not decoded.isascii()
        and not has_hidden(decoded)
        and not _SELECTORS.search(decoded)
        and unicodedata.normalize("NFKC", decoded.casefold()) == decoded
        and not unicodedata.category(decoded[0]).startswith("M")
        and all(unicodedata.category(char) in ("Ll", "Lo", "Lm", "Mn", "Mc", "Nd", "Pd") for char in decoded)
        and all(unicodedata.bidirectional(char) in ("L", "EN", "NSM", "ES") for char in decoded)
    )


def _host(authority: str) -> str:
    """The host of a special URL; empty where a client refuses it."""
    place = authority.rpartition("@")[2]
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::0*([0-9]{0,5}))?", place, re.DOTALL)
    if match is None or int(match[2] or "0") > _LARGEST_PORT:
        return ""
    return _ipv6(match[1][1:-1]) if match[1].startswith("[") else _domain(match[1])


def _other_host(rest: str) -> str:
    """The host of a URL of another scheme, which is kept as it is written."""
    if not rest.startswith("//"):
        return ""
    place = re.split(r"[/?#]", rest[2:], maxsplit=1)[0].rpartition("@")[2]
    host = re.sub(r":[0-9]*$", "", place).strip("[]").lower()
    return host if host.isascii() and not _FORBIDDEN.search(host.replace(":", "")) else ""


def _domain(written: str) -> str:
    try:
        text = unquote_to_bytes(written).decode("utf-8")
    except UnicodeError:
        return ""
    host = _to_ascii(text)
    if not host or _FORBIDDEN.search(host):
        return ""
    parts = host.removesuffix(".").split(".")
    if not (parts[-1].isdigit() or re.fullmatch(r"0x[0-9a-f]*", parts[-1])):
        return host
    return _ipv4(parts)


def _to_ascii(text: str) -> str:
    """The name in lower case with its labels in punycode, as UTS 46 maps it; close to it for rare characters."""
    if not text.isascii():
        mapped = unicodedata.normalize(
            "NFKC", unicodedata.normalize("NFKC", _SELECTORS.sub("", HIDDEN.sub("", text))).lower()
        )
        text = mapped.replace("\u3002", ".")
    labels = text.lower().split(".")
    try:
        return ".".join(label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in labels)
    except UnicodeError:
        return ""


def _ipv4(parts: list[str]) -> str:
    """The address of up to four numbers, decimal, octal or hexadecimal, the last of which fills what is left."""
    if len(parts) > 4 or not all(map(_NUMBER.fullmatch, parts)):
        return ""
    try:
        numbers = [_number(part) for part in parts]
    except ValueError:
        return ""
    *first, last = numbers
    if any(number > 255 for number in first) or last >= 256 ** (5 - len(numbers)):
        return ""
    return str(ipaddress.IPv4Address(last + sum(number << (24 - 8 * place) for place, number in enumerate(first))))


def _number(part: str) -> int:
    """Raises ValueError."""
    if len(part) > 64:  # longer than any address, and slow to read
        raise ValueError(part)
    if part[:2].lower() == "0x":
        return int(part[2:] or "0", 16)
    return int(part, 8) if part.startswith("0") and len(part) > 1 else int(part)


def _ipv6(written: str) -> str:
    """In the shortest form, an IPv4 address at its end in hexadecimal as browsers write it."""
    if "%" in written:
        return ""
    try:
        address = ipaddress.IPv6Address(written)
    except ValueError:
        return ""
    if address.ipv4_mapped is None:
        return address.compressed
    low = int(address) & 0xFFFF_FFFF
    return f"::ffff:{low >> 16:x}:{low & 0xFFFF:x}"
