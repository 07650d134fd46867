"""Settings: every value, where it came from, and what may be written instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, Static

from ccproxy_tui.core.control.frames import Watch
from ccproxy_tui.core.control.protocol import ControlError, ControlLost
from ccproxy_tui.core.settings import SettingsError
from ccproxy_tui.core.text import filters
from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.screens.base import NARROW, WIDE, BaseScreen
from ccproxy_tui.screens.model_map import ModelMap
from ccproxy_tui.screens.ui.mirror import Changes
from ccproxy_tui.screens.widgets.detail_view import DetailView
from ccproxy_tui.screens.widgets.filter_bar import FilterBar
from ccproxy_tui.screens.widgets.live_list import Column, LiveList

FIELDS = frozenset({"key", "value", "origin", "description"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: a `core.settings.Entry` as the control API gives it."""

    place: int
    key: str
    value: str
    default: str
    origin: str
    kind: str
    allowed: str
    live: bool
    secret: bool
    description: str
    choices: tuple[str, ...]
    pending: str | None = None  # the value after a restart, where that is another one

    @property
    def changed(self) -> bool:
        return self.origin != "default"

    @property
    def written(self) -> str:
        """The value that the files have."""
        return self.value if self.pending is None else self.pending

    @property
    def shown(self) -> str:
        """The value that runs, and the one that waits for a restart."""
        running = self.value or "-"
        return running if self.pending is None else f"{running} ({self.pending or '-'} after a restart)"


def _is_own(key: str) -> bool:
    """Return whether a setting is one of the terminal, and so is kept on its machine."""
    return key.startswith("ui.")


_NAMES = frozenset(field.name for field in fields(Setting)) - {"place"}  # a newer proxy may send others, too


def to_settings(entries: Iterable[dict[str, Any]]) -> dict[str, Setting]:
    return {
        entry["key"]: Setting(place, **{name: _frozen(value) for name, value in entry.items() if name in _NAMES})
        for place, entry in enumerate(entries)
    }


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


class SettingsScreen(BaseScreen):
    """Read from the proxy each time it opens; written through it, which validates and keeps comments.

    Settings of the screens are those of this machine, wherever the proxy runs.
    """

    READS = True
    TAB = "settings"
    HELP = (
        "Each setting with its value and its origin: a flag, an environment variable, a .env or TOML file, "
        "or the default. enter edits, d restores the default. Values are checked before the file is written. "
        "t shows which provider and model serve a name."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "filter", id="settings.filter"),
        Binding("escape", "clear_filter", "clear filter", id="settings.clear_filter", show=False),
        Binding("d", "default", "default", id="settings.default"),
        Binding("r", "reload", "read again", id="settings.reload", show=False),
        Binding("m", "changed", "changed only", id="settings.changed"),
        Binding("t", "test_model", "test a model", id="settings.test_model"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._settings: dict[str, Setting] = {}
        self._filter = filters.Filter()
        self._filter_text = ""
        self._changed_only = False

    def compose_body(self) -> Iterable[Widget]:
        with Vertical(id="settings-box", classes="box"):
            yield FilterBar()
            yield LiveList[Setting]([], id="settings-list", empty=("", "no settings to show"))
        with Vertical(id="setting-box", classes="box"):
            yield DetailView(id="setting", empty="")

    @property
    def list(self) -> LiveList[Setting]:
        return self.query_one("#settings-list", LiveList)

    def on_mount(self) -> None:
        super().on_mount()
        self._lay_out()
        self.list.set_items(self._settings)
        self._order()
        self.list.focus()

    def on_screen_resume(self) -> None:
        super().on_screen_resume()
        self.action_reload()

    def on_resize(self) -> None:
        super().on_resize()
        self.call_after_refresh(self._lay_out)

    def _lay_out(self) -> None:
        width = self.size.width
        key_width = 34 if width >= NARROW else 26
        key = Column[Setting]("key", "setting", key_width, lambda s: s.key, style=lambda s: "" if s.changed else "dim")
        value = Column[Setting]("value", "value", 0, lambda s: s.shown, style=lambda s: "live" if s.changed else "")
        origin = Column[Setting]("origin", "from", 34 if width >= WIDE else 18, lambda s: s.origin)
        self.list.set_columns([key, value, origin] if width >= NARROW else [key, value])

    def watching(self) -> Watch:
        return Watch(rows=False)

    def take(self, changes: Changes) -> None:
        if changes.reset:
            self.action_reload()

    def action_reload(self) -> None:
        self.read_again(self._load)

    async def _load(self) -> None:
        own = [dataclasses.asdict(entry) for entry in await self.proxy_app.settings.entries() if _is_own(entry.key)]
        try:
            theirs = [entry for entry in await self.control.settings() if not _is_own(str(entry["key"]))]
        except ControlLost:
            return  # the status bar says so, and this is read again when the proxy is there
        except ControlError as error:
            self.proxy_app.say(str(error), "error")
            return
        self._settings.clear()
        self._settings.update(to_settings([*theirs, *own]))
        self.list.rebuild()
        self._show_selected()
        self._title()

    def _order(self) -> None:
        self.list.set_order(
            lambda setting: setting.place,
            reverse=False,
            keep=lambda setting: (setting.changed or not self._changed_only) and self._filter.matches(_fields(setting)),
        )

    def _title(self) -> None:
        changed = sum(setting.changed for setting in self._settings.values())
        title = f"settings  {changed} of {len(self._settings)} set"
        if self._changed_only:
            title += "  changed only"
        if self._filter_text:
            title += f"  filter: {self._filter_text}"
        self.query_one("#settings-box").border_title = escape_line(title).replace("[", r"\[")

    def _show_selected(self) -> None:
        setting = self.list.selected
        if setting is None:
            return
        effect = "changes take effect at once" if setting.live else "changes take effect after a restart"
        allowed = f"{setting.kind}: {setting.allowed}" if setting.allowed else setting.kind
        if setting.pending is not None:
            effect = f"running {setting.value or '(none)'}, file {setting.pending or '(none)'}: restart to apply"
        variable = setting.key.upper().replace(".", "__")
        self.query_one("#setting", DetailView).show_lines(
            [
                (setting.description, "strong"),
                (f"{allowed}; default {setting.default or '(none)'}", ""),
                (f"from {setting.origin}; variable {variable}; {effect}", "dim"),
            ]
        )

    def on_live_list_moved(self, event: LiveList.Moved) -> None:
        self._show_selected()

    def on_live_list_opened(self, event: LiveList.Opened) -> None:
        setting = self.list.selected
        if setting is not None:
            self.background(partial(self._edit, setting))

    async def _edit(self, setting: Setting) -> None:
        if setting.choices:
            values, old = setting.choices, setting.written
            new = values[(values.index(old) + 1) % len(values)] if old in values else values[0]
        else:
            answer = await self.app.push_screen_wait(EditSetting(setting))
            if answer is None:
                return
            new = answer
        await self._write(setting.key, new)

    async def _write(self, key: str, value: str | None) -> None:
        change = self._change_own if _is_own(key) else self.control.change_setting
        try:
            effect = await change(key, value)
        except ControlError as error:
            self.proxy_app.say(str(error), "error")
            return
        self.proxy_app.say(f"{key}: {effect}")
        await self._load()

    async def _change_own(self, key: str, value: str | None) -> str:
        """Raises ControlError."""
        own = self.proxy_app.settings
        if key == "ui.theme" and value is not None and not self.proxy_app.has_theme(value):
            raise ControlError(f"Unknown theme {value!r}")
        try:
            effect = await own.change(tuple(key.split(".")), value)
        except (SettingsError, OSError) as error:
            raise ControlError(str(error)) from error
        return f"{effect} ({own.loaded.write_to})"

    def action_default(self) -> None:
        setting = self.list.selected
        if setting is None or not (setting.changed or setting.pending is not None):
            return
        if setting.changed and not setting.origin.startswith("file"):
            self.proxy_app.say(f"{setting.key} comes from {setting.origin}; change it there", "warning")
            return
        self.background(partial(self._write, setting.key, None))

    def action_changed(self) -> None:
        self._changed_only = not self._changed_only
        self._order()
        self._title()

    def action_test_model(self) -> None:
        self.app.push_screen(ModelMap(self.control))

    def action_filter(self) -> None:
        self.query_one(FilterBar).open(self._filter_text, "port  origin:env  key:ui")

    def action_clear_filter(self) -> None:
        self._set_filter("")

    def on_filter_bar_changed(self, event: FilterBar.Changed) -> None:
        self._set_filter(event.text)

    def on_filter_bar_closed(self) -> None:
        self.list.focus()

    def _set_filter(self, text: str) -> None:
        try:
            self._filter = filters.parse(text, FIELDS)
        except filters.FilterError as error:
            self.query_one(FilterBar).fail(str(error))
            return
        self.query_one(FilterBar).fail("")
        self._filter_text = text
        self._order()
        self._title()

    def keys(self) -> Sequence[tuple[str, str]]:
        return (
            ("?", "help"),
            ("enter", "edit"),
            ("d", "default"),
            ("m", "changed only"),
            ("t", "test a model"),
            ("/", "filter"),
            ("q", "quit"),
        )


def _fields(setting: Setting) -> dict[str, filters.Value]:
    return {
        "key": setting.key,
        "value": setting.value,
        "origin": setting.origin,
        "description": setting.description,
    }


class EditSetting(ModalScreen[str | None]):
    """One value, typed. The old one is there to start from, except for secrets and what a terminal can't show."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "dismiss(None)", "cancel", id="edit.cancel", show=False)]

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self._setting = setting

    def compose(self) -> ComposeResult:
        setting = self._setting
        allowed = f"{setting.kind} {setting.allowed}".strip()
        about = "\n".join(map(escape_line, (setting.key, setting.description, allowed)))
        written = setting.written if escape_line(setting.written) == setting.written else ""
        with Vertical(classes="dialog"):
            yield Static(about, markup=False, classes="dialog-text")
            yield Input(
                "" if setting.secret else written,
                password=setting.secret,
                id="edit-value",
                select_on_focus=False,
                compact=True,
            )
            yield Static("enter save, esc cancel", markup=False, classes="dialog-hint")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)
