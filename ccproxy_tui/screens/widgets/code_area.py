"""A field for text that a model, a paste or another program may have put there."""

from __future__ import annotations

from rich.text import Text
from textual.widgets import TextArea

from ccproxy_tui.core.text.escape import HIDDEN


class CodeArea(TextArea):
    """Textual writes a text area's text to the terminal as it is; here each sign that hides is drawn as a box."""

    def get_line(self, line_index: int) -> Text:
        line = super().get_line(line_index)
        line.plain = HIDDEN.sub("\N{REPLACEMENT CHARACTER}", line.plain)
        return line
