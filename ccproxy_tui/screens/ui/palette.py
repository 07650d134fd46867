"""The command palette: every action that works where the focus is, with its key, and every screen and theme."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from textual.await_complete import AwaitComplete
from textual.command import CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider

if TYPE_CHECKING:
    from ccproxy_tui.app import CCProxyApp


class Palette(CommandPalette):
    """Textual's palette, without the errors of keys that come while its list is empty, or while it closes."""

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError):  # there is no line to move to
            super()._action_command_list(action)

    def _refresh_command_list(self, command_list: CommandList, commands: list[Any], clear_current: bool) -> None:
        if self.is_running and command_list.is_running:
            super()._refresh_command_list(command_list, commands, clear_current)

    def dismiss(self, result: Any = None) -> AwaitComplete:
        """Close it, once: two keys or clicks may both ask for it."""
        return super().dismiss(result) if self.is_current else AwaitComplete.nothing()  # type: ignore[no-untyped-call]


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
