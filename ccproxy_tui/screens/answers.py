"""Answers that take more than a key: words for a denial, and an edited input."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static, TextArea

from ccproxy_tui.core.formats import keys
from ccproxy_tui.core.permissions.difference import difference
from ccproxy_tui.core.text.escape import escape_json, escape_line, has_hidden
from ccproxy_tui.screens.ui.card_view import difference_lines
from ccproxy_tui.screens.ui.editor import EditorError, edit, editor_of
from ccproxy_tui.screens.ui.pieces import PieceLine
from ccproxy_tui.screens.widgets.code_area import CodeArea
from ccproxy_tui.screens.widgets.piece_view import PieceView
from ccproxy_tui.screens.widgets.time_left import TimeLeft, Waiting

_ARMED = 0.6  # seconds that a difference must have been on screen before it is sent
# What is edited as it is, in place of the JSON around it.
_TEXTS = ("command", "cmd", "script", "content", "new_string", "prompt", "url", "query")
_SUFFIXES = {"command": ".sh", "cmd": ".sh", "script": ".sh"}


class Denial(NamedTuple):
    message: str
    interrupt: bool = False


class MessageDialog(ModalScreen["Denial | None"]):
    """A few words for the model, on a denial. They stay when the request ends before they are sent."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", show=False, id="message.cancel"),
        Binding("ctrl+s", "send(True)", "deny and stop the agent", show=False, id="message.interrupt", priority=True),
        Binding("f8", "more", "more time", show=False, id="message.more", priority=True),
        Binding("f9", "copy", "copy the text", show=False, id="message.copy", priority=True),
    ]

    def __init__(self, waiting: Waiting, written: str = "") -> None:
        super().__init__()
        self._waiting = waiting
        self._written = written

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static("Deny with a message to the model:", markup=False, classes="dialog-text")
            yield Input(self._written, id="denial", placeholder="use git mv instead", compact=True)
            yield TimeLeft(self._waiting)
            yield Static("enter deny, ctrl+s deny and stop the agent, esc cancel", markup=False, classes="dialog-hint")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self) -> None:
        self.action_send(False)

    def action_send(self, interrupt: bool) -> None:
        message = self.query_one(Input).value.strip()
        if self._waiting.ended:
            self.query_one(TimeLeft).count()
            return
        self.dismiss(Denial(message, interrupt) if message else None)

    def action_more(self) -> None:
        self._waiting.extend()

    def action_copy(self) -> None:
        self._waiting.copy(self.query_one(Input).value, "words")


class EditDialog(ModalScreen[Any]):
    """The input, changed, to be allowed so: what has changed is shown before it is sent.

    A command, or the text that a tool takes, is edited as it is; everything else as JSON. Ends with the whole input, or
    None when the user leaves. What is written stays when the request ends before it is sent.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", show=False, id="edit.cancel"),
        Binding("ctrl+s", "send", "allow as edited", show=False, id="edit.send", priority=True),
        Binding("f2", "whole", "edit the full JSON", show=False, id="edit.whole", priority=True),
        Binding("f4", "editor", "open $EDITOR", show=False, id="edit.editor", priority=True),
        Binding("f8", "more", "more time", show=False, id="edit.more", priority=True),
        Binding("f9", "copy", "copy the text", show=False, id="edit.copy", priority=True),
    ]

    def __init__(self, given: Any, waiting: Waiting, now: Callable[[], float], written: Any = None) -> None:
        """`written`: what has been edited before, and could not be sent."""
        super().__init__()
        self._given = given
        self._waiting = waiting
        self._written = given if written is None else written
        self._now = now
        self._field = _text_of(given) if written is None else ""
        self._reviewed: Any = None
        self._shown = float("inf")

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide-dialog"):
            yield Static("", markup=False, id="edit-title")
            yield CodeArea(self._text(self._written), id="edited")
            yield PieceView(id="edit-difference")
            yield TimeLeft(self._waiting)
            yield Static("", markup=False, classes="dialog-hint", id="edit-told")

    def on_mount(self) -> None:
        self._write()

    # --- keys ---

    def action_back(self) -> None:
        if self._is_reviewing:
            self._write()
        else:
            self.dismiss(None)

    def action_send(self) -> None:
        """First show what has changed, then allow it."""
        if self._waiting.ended:
            self.query_one(TimeLeft).count()
            return
        if self._is_reviewing:
            if self._now() - self._shown >= _ARMED:
                self.dismiss(self._reviewed)
            return
        try:
            edited = self._edited()
        except (ValueError, RecursionError) as error:
            self._tell(f"not valid JSON: {error}")
            return
        if json.dumps(edited) == json.dumps(self._given):
            self._tell("No changes. To allow the original, press esc, then a on the card.")
            return
        self._review(edited)

    def action_more(self) -> None:
        self._waiting.extend()

    def action_copy(self) -> None:
        self._waiting.copy(self._area.text, "edited text")

    def action_whole(self) -> None:
        """All of the input as JSON, with what was edited so far."""
        if self._field and not self._is_reviewing:
            edited = self._edited()
            self._field = ""
            self._area.text = self._text(edited)
            self._write()

    def action_editor(self) -> None:
        """In the user's own editor, on this terminal."""
        if self._is_reviewing:
            return
        editor = editor_of(os.environ)
        if not editor:
            self._tell("No editor is set. Set $VISUAL or $EDITOR.")
            return
        self.run_worker(self._edit_outside(editor), group="editor", exclusive=True)

    async def _edit_outside(self, editor: str) -> None:
        try:
            self._area.text = await edit(self.app, editor, self._area.text, _SUFFIXES.get(self._field, ".json"))
        except SuspendNotSupported:
            self._tell("This terminal can't run an editor.")
        except EditorError as error:
            self._tell(f"The editor failed, so nothing was changed: {error}")

    def on_text_area_changed(self) -> None:
        """What was wrong with the text may be right now."""
        if not self._is_reviewing:
            self._show_keys()

    # --- the two looks ---

    @property
    def _area(self) -> TextArea:
        return self.query_one(TextArea)

    @property
    def _is_reviewing(self) -> bool:
        return self.query_one(PieceView).display

    def _write(self) -> None:
        what = self._field or "the input"
        self.query_one("#edit-title", Static).update(f"Edit {what}:")
        self._area.display, self.query_one(PieceView).display = True, False
        self._area.focus()
        self._show_keys()

    def _show_keys(self) -> None:
        whole = "f2 edit full JSON, " if self._field else ""
        self._tell(f"ctrl+s review, {whole}f4 $EDITOR, esc cancel")

    def _review(self, edited: Any) -> None:
        self.query_one("#edit-title", Static).update("This will be allowed:")
        view = self.query_one(PieceView)
        self._area.display, view.display = False, True
        found = difference(self._text(self._given), self._text(edited))
        view.top = 0
        lines = difference_lines(found, self.query_one("#edit-title").size.width)
        view.show_lines(lines or [PieceLine((("only the newlines at the end differ", "dim"),))])
        view.focus()
        self._reviewed, self._shown = edited, self._now()
        self._tell("ctrl+s allow, esc keep editing")

    def _tell(self, text: str) -> None:
        self.query_one("#edit-told", Static).update(escape_line(text))

    # --- the text ---

    def _text(self, given: Any) -> str:
        return str(given[self._field]) if self._field else escape_json(json.dumps(given, indent=2, ensure_ascii=False))

    def _edited(self) -> Any:
        """Raises ValueError, RecursionError."""
        text = self._area.text
        return {**self._given, self._field: text} if self._field else keys.load(text)


def _text_of(given: Any) -> str:
    """The name of the one text that is worth editing alone; empty: edit it all, as what hides must be spelled out."""
    if not isinstance(given, dict):
        return ""
    name = next((name for name in _TEXTS if isinstance(given.get(name), str)), "")
    return name if name and not has_hidden(given[name]) else ""
