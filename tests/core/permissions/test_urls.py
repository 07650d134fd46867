"""The host of a URL is the one that its client connects to, or the URL is not read for certain."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.core.permissions.urls import read_url

# Hosts as node 20 reads them (`new URL(text).hostname`), without the brackets of IPv6; "" where it refuses the URL.
_BY_NODE = [
    ("https://evil.example\\@github.com/x", "evil.example"),
    ("https://evil.example\\.github.com/", "evil.example"),
    ("https:\\\\evil.example\\x", "evil.example"),
    ("https:evil.example", "evil.example"),
    ("https:/evil.example", "evil.example"),
    ("https:////evil.example/github.com", "evil.example"),
    ("https:/\\evil.example", "evil.example"),
    ("https://github.com@evil.example/", "evil.example"),
    ("https://github.com:443@evil.example/", "evil.example"),
    ("https://a@b@evil.example/", "evil.example"),
    ("https://@evil.example/", "evil.example"),
    ("https://github.com%40evil.example/", ""),
    ("https://evil.example#@github.com/", "evil.example"),
    ("https://evil.example?@github.com/", "evil.example"),
    ("https://evil.example;@github.com/", "github.com"),
    ("https://evil%2eexample/", "evil.example"),
    ("https://evil.example%2f.github.com/", ""),
    ("https://evil.example%00.github.com/", ""),
    ("https://%65vil.example/", "evil.example"),
    ("https://ev\til.exa\nmple/", "evil.example"),
    ("ht\ntps://evil.example/", "evil.example"),
    (" \x01https://evil.example \x02", "evil.example"),
    ("https://evil.example.", "evil.example."),
    ("HTTPS://EVIL.example", "evil.example"),
    ("https://evil.example:443/", "evil.example"),
    ("https://evil.example:/", "evil.example"),
    ("https://evil.example:65536/", ""),
    ("https://evil.example:8x/", ""),
    ("https://127.1/", "127.0.0.1"),
    ("https://0x7f.1/", "127.0.0.1"),
    ("https://0177.0.0.1/", "127.0.0.1"),
    ("https://2130706433/", "127.0.0.1"),
    ("https://0x7f000001/", "127.0.0.1"),
    ("https://0/", "0.0.0.0"),
    ("https://0x/", "0.0.0.0"),
    ("https://127.0.0.1./", "127.0.0.1"),
    ("https://1.2.3.256/", ""),
    ("https://1.2.3.4.5/", ""),
    ("https://256.1.1.1/", ""),
    ("https://a.0x1/", ""),
    ("https://\uff11\uff12\uff17.\uff10.\uff10.1/", "127.0.0.1"),
    ("https://\uff45vil\uff0eexample/", "evil.example"),
    ("https://evil\u3002example/", "evil.example"),
    ("https://evil\uff61example/", "evil.example"),
    ("https://ev\u00adil.example/", "evil.example"),
    ("https://b\u00fccher.example/", "xn--bcher-kva.example"),
    ("https://B\u00dcCHER.example/", "xn--bcher-kva.example"),
    ("https://fa\u00df.example/", "xn--fa-hia.example"),
    ("https://\u0430pple.com/", "xn--pple-43d.com"),
    ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
    ("https://[::1]/", "::1"),
    ("https://[0:0::1]:80/", "::1"),
    ("https://[::ffff:127.0.0.1]/", "::ffff:7f00:1"),
    ("https://[::1%25eth0]/", ""),
    ("https://[1::2::3]/", ""),
    ("https:///", ""),
    ("https://", ""),
    ("https://a b.example/", ""),
    ("evil.example/x", ""),
    ("//evil.example/x", ""),
]


@pytest.mark.parametrize(("text", "host"), _BY_NODE)
def test_the_host_is_the_client_s(text: str, host: str) -> None:
    assert read_url(text).host == host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://github.com", "github.com"),
        ("https://GitHub.com/x@y?z=a#b", "github.com"),
        ("http://a-b.example:8080/", "a-b.example"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://en.wikipedia.org/wiki/Caf\u00e9_(drink)", "en.wikipedia.org"),
        ("https://medium.com/@user/post", "medium.com"),
        ("http://localhost:3000/a?b=c%20d", "localhost"),
        ("http://127.0.0.1:80/", "127.0.0.1"),
        ("http://[::1]:80/", "::1"),
    ],
)
def test_plain_urls_are_read_for_certain(text: str, host: str) -> None:
    url = read_url(text)
    assert (url.host, url.problem) == (host, "")


@pytest.mark.parametrize(
    "text",
    [
        *(text for text, host in _BY_NODE if not host),
        *(text for text, _ in _BY_NODE if any(sign in text for sign in "\\@\t\n\x01%")),
        *(text for text, _ in _BY_NODE if not text.isascii()),
        *("https:evil.example", "https:////evil.example/", "https://evil.example./", "https://0x7f.1/"),
        *("https://2130706433/", "https://0177.0.0.1/", "https://127.1/", "https://[0::1]/", "https://xn--a/"),
        *("https://a..b/", "https://a_b.example/", "https://-a.example/", "https://*.example/", "https://.example/"),
        *("https://a.example/\u202e", "https://a.example/x y", "https://a.example/\u00a0", "https://a.example/\x7f"),
        *("ftps://a.example/", "file:///etc/passwd", "javascript:alert(1)", "data:text/html,x", "about:blank", ""),
        *(
            "https://" + "a" * 64 + ".example/",
            "https://" + "a." * 130 + "example/",
            "https://a.example/" + "x" * 70_000,
        ),
        *(
            "https://a.example:" + "1" * 9000,
            "https://" + "1" * 9000,
            "https://\ud800/",
            "https://xn--pple-43d\u200b.com",
        ),
    ],
)
def test_any_doubt_is_a_problem(text: str) -> None:
    assert read_url(text).problem


@given(st.text())
def test_any_text_is_read_or_has_a_problem(text: str) -> None:
    for given_ in (text, f"https://{text}", f"https://{text}.example/"):
        url = read_url(given_)
        assert url.host.isascii()
        assert url.problem or url.host


_NODE = shutil.which("node")
_ASK = """
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
const read = (text) => { try { return new URL(text).hostname; } catch { return null; } };
console.log(JSON.stringify(texts.map(read)));
"""


def _by_node(texts: list[str]) -> list[str | None]:
    if _NODE is None:
        if os.environ.get("CCPROXY_TEST_REQUIRE_ALL"):
            pytest.fail("node is missing")
        pytest.skip("node is missing")
    asked = json.dumps(texts).encode()
    done = subprocess.run([_NODE, "-e", _ASK], input=asked, capture_output=True, check=True, timeout=50)
    hosts: list[str | None] = json.loads(done.stdout)
    return [None if host is None else host.strip("[]") for host in hosts]


def test_the_table_is_what_node_reads() -> None:
    assert _by_node([text for text, _ in _BY_NODE]) == [host or None for _, host in _BY_NODE]


_PIECES = (
    *("http:", "https:", "HTTPS:", "ws:", "ftp:", "file:", "x:", "//", "/", "\\", "@", ":", "?", "#", "%", "%2e"),
    *("%40", "%2f", "%00", "%EF%BC%8E", ".", "..", "-", "_", "a", "B", "evil", "github.com", "xn--", "xn--bcher-kva"),
    *("xn--a", "1", "0", "255", "256", "127.0.0.1", "0x7f", "017", "4294967295", "4294967296", "[::1]", "[", "]"),
    *("::", "[1::2]", "[::ffff:1.2.3.4]", "80", "443", "65535", "65536", "\t", "\n", "\r", " ", "\x00", "\x1f"),
    *("\x7f", "\u00ad", "\u3002", "\uff0e", "\uff41", "\uff11", "\u00fc", "\u00df", "\u0130", "\u212a", "\u017f"),
    *("\u2126", "\u0430", "\u05d0", "\u200d", "\u0301", "\u2028", "\u00a0", "*", "+", "~", "!", "$", "&", "'", "("),
    *(";", "=", ",", "^", "|", "<", '"', "`", "{"),
)


def _generated(random_: random.Random) -> str:
    start = random_.choice(("", "https://", "https://", "http://", "https:", "https://a.example"))
    return start + "".join(random_.choice(_PIECES) for _ in range(random_.randint(1, 7)))


def _punycode(char: str) -> str:
    return f"https://xn--{('a' + char).encode('punycode').decode()}.example/"


@pytest.mark.parametrize("seed", [1, 2])
def test_what_is_read_for_certain_is_what_node_reads(seed: int) -> None:
    random_ = random.Random(seed)
    texts = [_generated(random_) for _ in range(40_000)]
    texts += [_punycode(chr(random_.randint(0x80, 0x2FFFF))) for _ in range(10_000)]
    certain = [(text, url.host) for text in texts if not (url := read_url(text)).problem]
    assert len(certain) > 1000, "the test reads something"
    hosts = _by_node([text for text, _ in certain])
    wrong = [(text, ours, host) for (text, ours), host in zip(certain, hosts, strict=True) if ours != host]
    assert wrong == []


def test_selectors_of_variants_are_dropped_as_a_client_does() -> None:
    assert read_url("http://2130706433\ufe0f/").host == "127.0.0.1"
    assert read_url("http://\ufe0fevil.example/").host == "evil.example"
