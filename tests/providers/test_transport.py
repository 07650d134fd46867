"""The lean transport against servers that cut, trickle, lie and speak nonsense."""

from __future__ import annotations

import asyncio
import datetime
import itertools
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from ccproxy_tui.providers.transport import LeanTransport
from ccproxy_tui.providers.transport.parser import ProtocolError, ResponseParser, request_head
from tests.conftest import until
from tests.fakes.upstream import Cut, Reply, ScriptedUpstream, Wait


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=LeanTransport(), timeout=5) as one:
        yield one


@asynccontextmanager
async def tiny_server(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """A server of a few lines, whose connections all end with it."""
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        try:
            await handle(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


def raw(*parts: bytes) -> Reply:
    return Reply(raw=b"".join(parts))


# --- the parser, on bytes ---

RESPONSES = [
    (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 200, b"hello", True),
    (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b"", True),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n", 304, b"", True),
    (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nt: 1\r\n\r\n",
        200,
        b"hello world",
        True,
    ),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", True),
    (
        b"HTTP/1.1 103 Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 103 X\r\n\r\nHTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno",
        404,
        b"no",
        True,
    ),
    (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", False),
    (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", False),
]


@pytest.mark.parametrize(("data", "status", "body", "reusable"), RESPONSES)
def test_a_response_cut_at_every_byte_is_read_the_same(data: bytes, status: int, body: bytes, reusable: bool) -> None:
    for cut in range(len(data) + 1):
        parser = ResponseParser()
        parser.begin(method=b"GET")
        got = parser.feed(data[:cut]) + parser.feed(data[cut:])
        assert parser.head is not None
        assert (parser.head.status, got, parser.complete, parser.reusable) == (status, body, True, reusable)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_no_bytes_make_the_parser_fail_in_an_unknown_way(data: bytes, cuts: list[int]) -> None:
    parser = ResponseParser()
    parser.begin(method=b"GET")
    edges = [0, *sorted(cuts), len(data)]
    try:
        for start, end in itertools.pairwise(edges):
            parser.feed(data[start:end])
    except ProtocolError:
        assert not parser.complete


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10), st.integers(1, 40))
def test_chunked_bodies_of_any_bytes_and_any_cut_come_out_whole(chunks: list[bytes], size: int) -> None:
    data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    data += b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    parser = ResponseParser()
    parser.begin(method=b"POST")
    got = b"".join(parser.feed(data[i : i + size]) for i in range(0, len(data), size))
    assert got == b"".join(chunks)
    assert parser.reusable


def test_bytes_behind_a_complete_response_make_the_connection_unusable() -> None:
    parser = ResponseParser()
    parser.begin(method=b"GET")
    assert parser.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n") == b"ok"
    assert parser.complete
    assert not parser.reusable


def test_a_body_without_framing_ends_with_its_connection() -> None:
    parser = ResponseParser()
    parser.begin(method=b"GET")
    assert parser.feed(b"HTTP/1.1 200 OK\r\n\r\nall of it") == b"all of it"
    assert not parser.complete
    assert parser.eof()
    assert not parser.reusable


def test_a_framed_body_that_ends_early_is_not_whole() -> None:
    parser = ResponseParser()
    parser.begin(method=b"GET")
    parser.feed(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
    assert not parser.eof()


def test_a_head_without_end_is_refused() -> None:
    parser = ResponseParser()
    parser.begin(method=b"GET")
    parser.feed(b"HTTP/1.1 200 OK\r\nx: ")
    with pytest.raises(ProtocolError, match="larger"):
        for _ in range(300):
            parser.feed(b"y" * 1024)


@pytest.mark.parametrize("bad", [b"a\r\nx: y", b"a\nb", b"a\rb", b"a\0b"])
def test_no_header_value_can_end_its_line(bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        request_head(b"GET", b"/", [(b"x", bad)])


def test_no_target_can_end_the_request_line() -> None:
    with pytest.raises(ProtocolError):
        request_head(b"GET", b"/ HTTP/1.1\r\nx: y", [])


# --- over sockets ---


async def test_a_connection_is_used_again(client: httpx.AsyncClient, upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: Reply(body=[seen.target.encode()])
    for number in range(5):
        assert (await client.get(f"{upstream.url}/{number}")).text == f"/{number}"
    assert upstream.connections == 1


async def test_a_response_to_head_has_no_body(client: httpx.AsyncClient, upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: Reply(body=[b"12345"])
    response = await client.head(upstream.url)
    assert (response.headers["content-length"], response.content) == ("5", b"")
    assert (await client.get(upstream.url)).content == b"12345"


async def test_a_trickle_is_handed_on_as_it_comes(client: httpx.AsyncClient, upstream: ScriptedUpstream) -> None:
    go_on = asyncio.Event()
    upstream.replies.append(Reply(body=[b"first", Wait(event=go_on), b"second"], chunked=True))
    async with client.stream("GET", upstream.url) as response:
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"first"
        go_on.set()
        assert await anext(chunks) == b"second"


async def test_a_cut_in_the_body_is_an_error_after_what_came(
    client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    upstream.replies.append(Reply(body=[b"some", Wait(0.02), Cut], chunked=True))
    got = b""
    with pytest.raises(httpx.TransportError):
        async with client.stream("GET", upstream.url) as response:
            async for chunk in response.aiter_raw():
                got += chunk
    assert got == b"some"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff\x00\xff",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-5\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
    ],
    ids=range(9),
)
async def test_nonsense_is_a_transport_error(
    client: httpx.AsyncClient, upstream: ScriptedUpstream, answer: bytes
) -> None:
    upstream.replies.append(raw(answer))
    with pytest.raises(httpx.TransportError):
        await client.post(upstream.url, content=b"x")


async def test_a_reused_connection_that_was_closed_meanwhile_is_replaced_once(
    client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    upstream.replies += [Reply(body=[b"1"]), Reply(before_head=[Cut]), Reply(body=[b"2"])]
    assert (await client.get(upstream.url)).content == b"1"
    assert (await client.post(upstream.url, content=b"x")).content == b"2"
    assert upstream.connections == 2


async def test_a_fresh_connection_that_closes_without_an_answer_is_not_tried_again(
    client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    upstream.replies.append(Reply(before_head=[Cut]))
    with pytest.raises(httpx.TransportError):
        await client.post(upstream.url, content=b"x")
    assert len(upstream.seen) == 1


async def test_leaving_a_stream_closes_its_connection_at_once(
    client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    upstream.replies.append(Reply(body=[b"first", Wait(30)], chunked=True))
    async with client.stream("GET", upstream.url) as response:
        await anext(response.aiter_raw())
    await until(lambda: upstream.closed == [1], seconds=1)


async def test_an_early_answer_ends_a_large_upload(client: httpx.AsyncClient, upstream: ScriptedUpstream) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig")
        await writer.drain()
        await asyncio.sleep(30)

    async with tiny_server(refuse) as url:
        response = await client.post(url, content=b"x" * (32 << 20))
        assert (response.status_code, response.content) == (413, b"big")


async def test_a_body_given_as_a_stream_is_sent_in_chunks(
    client: httpx.AsyncClient, upstream: ScriptedUpstream
) -> None:
    received = bytearray()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not received.endswith(b"0\r\n\r\n"):
            received.extend(await reader.read(1000))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await asyncio.sleep(30)

    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async with tiny_server(take) as url:
        assert (await client.post(url, content=parts())).status_code == 200
    assert bytes(received).endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


async def test_time_outs_are_told_apart(upstream: ScriptedUpstream) -> None:
    timeout = httpx.Timeout(5, read=0.1, pool=0.1)
    async with httpx.AsyncClient(transport=LeanTransport(max_connections=1), timeout=timeout) as client:
        upstream.replies.append(Reply(before_head=[Wait(3)]))
        with pytest.raises(httpx.ReadTimeout):
            await client.get(upstream.url)
        upstream.replies.append(Reply(body=[b"a", Wait(3)], chunked=True))
        async with client.stream("GET", upstream.url) as response:
            chunks = response.aiter_raw()
            await anext(chunks)
            with pytest.raises(httpx.PoolTimeout):
                await client.get(upstream.url)
            with pytest.raises(httpx.ReadTimeout):
                await anext(chunks)


async def test_a_slow_reader_does_not_time_out(upstream: ScriptedUpstream) -> None:
    block = b"x" * 65536
    async with httpx.AsyncClient(transport=LeanTransport(), timeout=httpx.Timeout(5, read=0.15)) as client:
        upstream.replies.append(Reply(body=[block] * 200, chunked=True))
        total = 0
        async with client.stream("GET", upstream.url) as response:
            async for chunk in response.aiter_raw():
                if total == 0:
                    await asyncio.sleep(0.4)
                total += len(chunk)
        assert total == 200 * 65536


async def test_waiting_for_room_in_the_pool_ends_when_a_connection_is_free(upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: Reply(body=[b"x"])
    async with httpx.AsyncClient(transport=LeanTransport(max_connections=2), timeout=5) as client:
        answers = await asyncio.gather(*(client.get(upstream.url) for _ in range(20)))
    assert [answer.content for answer in answers] == [b"x"] * 20
    assert upstream.connections <= 2


async def test_one_that_leaves_as_room_is_made_lets_the_next_one_pass(upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: Reply(body=[b"x"])
    async with httpx.AsyncClient(transport=LeanTransport(max_connections=1), timeout=5) as client:
        async with client.stream("GET", upstream.url) as busy:
            leaving, staying = (asyncio.ensure_future(client.get(upstream.url)) for _ in range(2))
            await asyncio.sleep(0.05)
            await busy.aread()
            leaving.cancel()
        assert (await staying).content == b"x"
        assert leaving.cancelled()


async def test_idle_connections_are_closed_when_they_expire(upstream: ScriptedUpstream) -> None:
    upstream.default = lambda seen: Reply(body=[b"x"])
    async with httpx.AsyncClient(transport=LeanTransport(keepalive_expiry=0.05), timeout=5) as client:
        await client.get(upstream.url)
        await until(lambda: upstream.closed == [1], seconds=2)


async def test_what_can_not_be_reached_says_so(client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.ConnectError, match="connection refused"):
        await client.get("http://127.0.0.1:1/")
    with pytest.raises(httpx.ConnectError, match="can't be resolved"):
        await client.get("http://no-such-host.invalid/")


# --- TLS ---


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
async def tls_upstream(certificate: tuple[Path, Path]) -> AsyncIterator[ScriptedUpstream]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    scripted = ScriptedUpstream(tls=context)
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest.fixture
async def tls_client(certificate: tuple[Path, Path]) -> AsyncIterator[httpx.AsyncClient]:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    async with httpx.AsyncClient(transport=LeanTransport(tls=context), timeout=5) as client:
        yield client


async def test_tls_works_and_is_closed_at_once_when_left(
    tls_client: httpx.AsyncClient, tls_upstream: ScriptedUpstream
) -> None:
    url = f"https://localhost:{tls_upstream.port}/"
    tls_upstream.replies += [Reply(body=[b"hello"]), Reply(body=[b"first", Wait(30)], chunked=True)]
    assert (await tls_client.get(url)).content == b"hello"
    async with tls_client.stream("GET", url) as response:
        assert await anext(response.aiter_raw()) == b"first"
    await until(lambda: tls_upstream.closed == [1], seconds=1)


async def test_a_certificate_that_is_not_trusted_is_refused_with_the_reason(tls_upstream: ScriptedUpstream) -> None:
    async with httpx.AsyncClient(transport=LeanTransport(), timeout=5) as client:
        with pytest.raises(httpx.ConnectError, match="not trusted"):
            await client.get(f"https://localhost:{tls_upstream.port}/")


async def test_a_certificate_for_another_name_is_refused(
    tls_client: httpx.AsyncClient, tls_upstream: ScriptedUpstream
) -> None:
    with pytest.raises(httpx.ConnectError, match="not trusted"):
        await tls_client.get(f"https://127.0.0.1:{tls_upstream.port}/")
