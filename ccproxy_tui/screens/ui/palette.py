"""The command palette: every action that works where the focus is, with its key, and every screen and theme."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

if TYPE_CHECKING:
    from ccproxy_tui.app import CCProxyApp


class Commands(Provider):
    """Verbs in groups: `view:`, `do:`, `theme:`."""

    def _all(self) -> Iterator[tuple[str, str, Any]]:
        app = cast("CCProxyApp", self.app)
        for name, key, title in app.tabs(200):
            yield f"view: {title}", f"open this screen ({key})", partial(app.open_tab, name)
        yield "view: Connect a tool", "the lines to paste for each tool (w)", app.action_welcome
        for active in self.screen.active_bindings.values():
            binding = active.binding
            if binding.description and not binding.system and not binding.key.isdigit():
                run = partial(app.run_action, binding.action, active.node)
                yield f"do: {binding.description}", f"key {app.get_key_display(binding)}", run
        for theme in ("dark", "light", "ansi", "mono"):
            yield f"theme: {theme}", "change the colours", partial(app.use_theme, theme)

    async def discover(self) -> AsyncIterator[DiscoveryHit]:
        seen = set()
        for title, words, run in self._all():
            if title not in seen:
                seen.add(title)
                yield DiscoveryHit(title, run, help=words)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        seen = set()
        for title, words, run in self._all():
            score = matcher.match(title)
            if score > 0 and title not in seen:
                seen.add(title)
                yield Hit(score, matcher.highlight(title), run, help=words)
