"""Providers of other packages: found by their entry point, of either kind, and left out when they are of none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import StartProxy
from tests.fakes.upstream import ScriptedUpstream, json_reply

COMMON = """
from ccproxy_tui.core.formats import Profile

class _Acme:
    lists = None
    detector = None
    paths = ()
    def __init__(self, context): self.context = context
    def profile(self, model, dialect): return Profile("openai_chat", "openai", "Acme")
    async def models(self): return []
    def accounts(self): return []
    async def close(self): pass
"""
PREPARES = """
from acme_common import _Acme
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.provider import UpstreamRequest
from ccproxy_tui.providers.upstream import Upstream

class Prepares(_Acme):
    name, prefixes = "acme", ("/acme",)
    def __init__(self, context):
        super().__init__(context)
        self.base = context.environ["ACME_URL"]
        self.connection = Upstream("Acme", self.base, context.settings().http)
    def access(self): return Credential("api_key", "acme-secret-key")
    def patch(self, call): return None
    def prepare(self, call, credential):
        headers = (*call.headers, ("x-acme-key", credential.secret))
        return UpstreamRequest("POST", f"{self.base}/{call.path}", headers, call.body, account="key", billing="Acme")
    async def close(self): await self.connection.close()
"""
RUNS = """
from acme_common import _Acme
from ccproxy_tui.core.provider import Answer

class Runs(_Acme):
    name, prefixes = "own", ("/own",)
    async def run(self, call, record):
        record.routed("local", "free")
        record.asked("POST", "own:///", call.headers, call.body)
        async def body(): yield b'{"choices":[{"message":{"role":"assistant","content":"own"},"finish_reason":"stop"}]}'
        return Answer(200, [("content-type", "application/json")], body())
"""
NEITHER = """
from acme_common import _Acme

class Neither(_Acme):
    name, prefixes = "old", ("/old",)
    async def send(self, call, report): raise AssertionError
"""
POINTS = """[ccproxy_tui.providers]
acme = acme_prepares:Prepares
old = acme_neither:Neither
own = acme_runs:Runs
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: ScriptedUpstream) -> None:
    """An installed package with three providers."""
    site = tmp_path / "site"
    info = site / "acme-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    modules = {"common": COMMON, "prepares": PREPARES, "runs": RUNS, "neither": NEITHER}
    for name, text in modules.items():
        (site / f"acme_{name}.py").write_text(text)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("ACME_URL", upstream.url)


HI = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.usefixtures("acme")
async def test_a_provider_of_another_package_serves(start_proxy: StartProxy, upstream: ScriptedUpstream) -> None:
    proxy = await start_proxy()
    choice = {"message": {"role": "assistant", "content": "from acme"}, "finish_reason": "stop"}
    upstream.replies.append(json_reply({"choices": [choice]}))
    answer = await proxy.client.post("/acme/v1/messages", json=HI)
    assert answer.json()["content"][0]["text"] == "from acme"
    [seen] = upstream.seen
    assert (seen.target, seen.header("x-acme-key")) == ("/v1/chat/completions", "acme-secret-key")
    record = await proxy.ended()
    assert (record.provider, record.account, record.billing, record.calls) == ("acme", "key", "Acme", 1)
    assert "acme-secret-key" not in repr(record)
    answer = await proxy.client.post("/own/v1/messages", json=HI)
    assert answer.json()["content"][0]["text"] == "own"
    assert (await proxy.ended()).provider == "own"


@pytest.mark.usefixtures("acme")
async def test_one_that_is_of_neither_kind_is_named_and_the_others_serve(
    start_proxy: StartProxy, caplog: pytest.LogCaptureFixture
) -> None:
    proxy = await start_proxy()
    assert {"acme", "own"} < set(proxy.hub.providers)
    assert "old" not in proxy.hub.providers
    [line] = [record.getMessage() for record in caplog.records if "old" in record.getMessage()]
    assert (
        line == "provider old could not be loaded: it has neither `prepare` nor `run` (see ccproxy_tui.core.provider)"
    )
