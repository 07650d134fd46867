"""Lines of several styles: commands, code, differences."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from textual.strip import Strip

from ccproxy_tui.screens.ui.pieces import PieceLine
from ccproxy_tui.screens.widgets.detail_view import KeptLines


class PieceView(KeptLines[PieceLine]):
    """Piece lines as they are: whoever shows them has wrapped them."""

    DEFAULT_CSS = """
    PieceView > .piece--strong { text-style: bold; }
    PieceView > .piece--dim, PieceView > .piece--comment { color: $text-muted; }
    PieceView > .piece--error { color: $text-error; }
    PieceView > .piece--added { color: $text-success; }
    PieceView > .piece--removed { color: $text-warning; }
    PieceView > .piece--added-ground { background: $added-ground; }
    PieceView > .piece--removed-ground { background: $removed-ground; }
    PieceView > .piece--program { text-style: bold; }
    PieceView > .piece--operator { color: $text-accent; text-style: bold; }
    PieceView > .piece--string, PieceView > .piece--number { color: $text-success; }
    PieceView > .piece--variable { color: $text-warning; }
    PieceView > .piece--keyword { color: $text-primary; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        *("piece--strong", "piece--dim", "piece--error"),
        *("piece--added", "piece--removed", "piece--added-ground", "piece--removed-ground"),
        *("piece--program", "piece--operator", "piece--string", "piece--variable", "piece--comment"),
        *("piece--number", "piece--keyword"),
    }

    def __init__(self, *, id: str | None = None, empty: str = "") -> None:
        super().__init__(id=id)
        self._empty = empty

    def draw_line(self, index: int, width: int) -> Strip:
        if not self._lines:
            return self.text_strip([(self._empty, self.named_style("piece--dim"))], width)
        line = self._lines[index]
        behind = Style(bgcolor=self.rich_style.bgcolor)
        if line.ground:
            behind = Style(bgcolor=self.named_style(f"piece--{line.ground}-ground").bgcolor)
        parts = [(text, self._style_of(name) + behind) for text, name in line.pieces]
        return self.text_strip([*parts, ("", self.rich_style + behind)], width)

    def _style_of(self, name: str) -> Style:
        return self.named_style(f"piece--{name}") if name else self.rich_style
