"""The ways to Codex's models: sockets and HTTP to ChatGPT's backend, HTTP to OpenAI's API."""

from __future__ import annotations

from collections.abc import Callable

from ccproxy_tui.core.provider import Answer, Mark, UpstreamRequest
from ccproxy_tui.core.settings.models import CodexProvider, Http
from ccproxy_tui.providers.codex.socket import Sockets, Unavailable
from ccproxy_tui.providers.upstream import Upstream


class CodexConnection:
    """Each request goes by the connections of the host that its address names."""

    def __init__(self, settings: Callable[[], CodexProvider], http: Callable[[], Http]) -> None:
        self._settings = settings
        self.backend = Upstream("ChatGPT", settings().base_url, http())
        self.api = Upstream("OpenAI", settings().api_base_url, http())
        self._sockets = Sockets(http)

    async def carry(self, request: UpstreamRequest, mark: Mark) -> Answer:
        """Send one request, by a socket where it may and one can be had."""
        if request.conversation:
            try:
                return await self._sockets.ask(request.url, list(request.headers), request.body, request.conversation)
            except Unavailable as reason:
                mark("over HTTP", str(reason))
        is_for_api = request.url.startswith(f"{self._settings().api_base_url}/")
        return await (self.api if is_for_api else self.backend).carry(request, mark)

    async def close(self) -> None:
        """Let go of all connections."""
        await self._sockets.close()
        await self.backend.close()
        await self.api.close()
