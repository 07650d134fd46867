"""The clients of the demo speak as the tools do whose names they have."""

from __future__ import annotations

import pytest

from ccproxy_tui.providers.demo import clients
from tests.conftest import StartProxy, until


async def test_codex_speaks_responses_and_the_others_messages(
    start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "LONGEST_PAUSE", 0.3)
    proxy = await start_proxy(PROVIDERS__DEMO__SPEED="1000", PROVIDERS__DEMO__ASKS="false")
    clients.start_clients(proxy.hub)
    spoken: dict[str, set[tuple[str, int]]] = {}

    def has_spoken() -> bool:
        for record in proxy.hub.store:
            if not record.live:
                spoken.setdefault(record.client, set()).add((record.path, record.status))
        return {"codex", "claude-code", "aider"} <= spoken.keys()

    await until(has_spoken, seconds=30)
    assert ("/demo/v1/responses", 200) in spoken["codex"]
    assert {path for path, _ in spoken["codex"]} == {"/demo/v1/responses"}
    assert {path for path, _ in spoken["claude-code"]} == {"/demo/v1/messages"}
