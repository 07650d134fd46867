"""The settings of a running program. Nothing else of it changes them, or the user's file.

A setting that applies at once is in force when its change is answered. Any other keeps its running value until the
next start, whatever else is changed, and whichever program has written the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ccproxy_tui.core.records.events import SettingsChanged
from ccproxy_tui.core.settings import Entry, Loaded, SettingsError, entries, is_live, load
from ccproxy_tui.core.settings.models import PermissionRule, Settings
from ccproxy_tui.core.settings.sources import KeyPath, Origin
from ccproxy_tui.core.system.supervisor import to_its_end

IN_EFFECT = "in effect now"
_RULES: KeyPath = ("permissions", "rules")


class LiveSettings:
    """Made by a proxy, or by screens for those of their terminal, with what was read at the start."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._turn = asyncio.Lock()
        self._subscribers: list[Callable[[SettingsChanged], None]] = []

    @property
    def loaded(self) -> Loaded:
        return self._loaded

    @property
    def current(self) -> Settings:
        return self._loaded.settings

    def subscribe(self, subscriber: Callable[[SettingsChanged], None]) -> None:
        """Call it after each change, on the loop."""
        self._subscribers.append(subscriber)

    async def entries(self) -> list[Entry]:
        """Return every setting as it runs; those that the next start would read otherwise say so."""
        loaded = self._loaded
        try:
            next_start = (await asyncio.to_thread(self._read)).settings
        except (SettingsError, OSError):  # a broken file, a removed folder: the next start would not take place
            next_start = loaded.settings
        return entries(loaded.settings, loaded.origins, next_start)

    async def change(self, key: KeyPath, text: str | None) -> str:
        """Write a setting, as it would be typed, into the user's file; None goes back to the default.

        Return when it takes effect. Raises SettingsError when the value is not allowed, or OSError; nothing is changed
        then.
        """
        from ccproxy_tui.core.settings import edit  # its TOML library is not for the start

        value = None if text is None else edit.parse_value(key, text)
        return await to_its_end(self._change(key, value))

    async def _change(self, key: KeyPath, value: Any) -> str:
        from ccproxy_tui.core.settings import edit

        async with self._turn:
            await asyncio.to_thread(edit.set_values, self._loaded.write_to, {key: value})
            return await self._take(key)

    async def change_rules(
        self, *, add: Sequence[PermissionRule] = (), remove: Sequence[PermissionRule] = ()
    ) -> Origin | None:
        """Change the rules of the user's file, and those in force.

        The file gets its own rules alone: those of a project file that is trusted hold in that project. Return the
        source that the next start will read the rules from, when it is another one. Raises SettingsError when a rule
        to remove is not in the file, or OSError; nothing is changed then.
        """
        return await to_its_end(self._change_rules(add, remove))

    async def _change_rules(self, add: Sequence[PermissionRule], remove: Sequence[PermissionRule]) -> Origin | None:
        from ccproxy_tui.core.settings import edit

        async with self._turn:
            path = self._loaded.write_to
            await asyncio.to_thread(edit.rewrite_rules, path, add, remove)
            kept = [rule for rule in self.current.permissions.rules if rule not in remove]
            permissions = self.current.permissions.model_copy(update={"rules": [*kept, *add]})
            settings = self.current.model_copy(update={"permissions": permissions})
            prevails = self._loaded.prevailing(_RULES)
            self._put(replace(self._loaded, settings=settings), _RULES)
            return prevails

    async def _take(self, key: KeyPath) -> str:
        """Put in force what was written, where that is possible. Return what has become of it, in words."""
        later = "written; takes effect after a restart"
        try:
            fresh = await asyncio.to_thread(self._read)
        except (SettingsError, OSError) as error:
            return f"{later}, once this is fixed: {error}"
        if (origin := fresh.prevailing(key)) is not None:
            return f"written, but {origin} still takes precedence"
        if not is_live(key):
            same = self._loaded.has_value_of(fresh, key)
            return "written; this value is already in effect" if same else later
        try:
            self._put(self._loaded.taking(key, fresh), key)
        except KeyError:  # of a table that is new
            return later
        return IN_EFFECT

    def _read(self) -> Loaded:
        return load(flags=self._loaded.flags, config=self._loaded.config)

    def _put(self, loaded: Loaded, key: KeyPath) -> None:
        self._loaded = loaded
        for subscriber in self._subscribers:
            subscriber(SettingsChanged(key))
