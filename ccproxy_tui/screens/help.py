"""`?`: what the open screen is for, and every key that works where the focus is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen

from ccproxy_tui.screens.ui.words import wrap
from ccproxy_tui.screens.widgets.detail_view import DetailView, Line


class HelpScreen(ModalScreen[None]):
    """Made from the bindings themselves, so that it can't say anything that is not so."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "dismiss", "close", id="help.close", show=False)
    ]

    def __init__(self, title: str, text: str, bindings: Iterable[ActiveBinding]) -> None:
        super().__init__()
        self._title_text = title
        self._text = text
        self._keys = list(bindings)

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog help"):
            yield DetailView(id="help-text")

    def on_mount(self) -> None:
        box = self.query_one(".help")
        box.border_title = f"help: {self._title_text}"
        box.border_subtitle = "esc closes"
        self.call_after_refresh(self._fill)

    def on_resize(self) -> None:
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        view = self.query_one(DetailView)
        width = max(view.size.width, 20)
        lines: list[Line] = [(line, "") for line in wrap(self._text, width)]
        lines.append(("", ""))
        lines += [(line, "") for line in key_lines(self._keys, self.app.get_key_display)]
        view.show_lines(lines)
        view.focus()


def key_lines(bindings: Iterable[ActiveBinding], display: Callable[[Binding], str]) -> list[str]:
    """One line an action: its keys and what it does. Actions without a description are left out."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for active in bindings:
        binding = active.binding
        if binding.description and not binding.system:
            grouped.setdefault((binding.action, binding.description), []).append(display(binding))
    rows = [(", ".join(dict.fromkeys(keys)), description) for (_, description), keys in grouped.items()]
    wide = min(max((len(keys) for keys, _ in rows), default=0), 22)
    return [f"{keys:>{wide}}  {description}" for keys, description in rows]
