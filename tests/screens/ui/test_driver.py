"""A terminal that goes away takes nothing with it."""

from __future__ import annotations

import io
import threading
from typing import IO, cast

from textual.drivers._writer_thread import WriterThread

from ccproxy_tui.screens.ui.driver import LastingFile


class CutLine(io.StringIO):
    """Takes a few writes, then fails as a terminal does whose window was closed."""

    left = 3

    def write(self, text: str) -> int:
        self.left -= 1
        if self.left < 0:
            raise OSError(5, "Input/output error")
        return super().write(text)


def test_writing_goes_on_when_the_terminal_is_gone() -> None:
    line = CutLine()
    writer = WriterThread(cast("IO[str]", LastingFile(line)))
    writer.start()

    def end() -> None:
        for number in range(200):
            writer.write(f"{number} ")
        writer.stop()

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    ending.join(5)
    assert not ending.is_alive(), "the program waits for a terminal that is gone"
    assert line.getvalue() == "0 1 2 "


def test_frames_and_marks_of_letters_alone() -> None:
    line, is_plain = io.StringIO(), [True]
    file = LastingFile(cast("IO[str]", line), lambda: is_plain[0])
    file.write("╭─ a ─╮\n│…→·█▔│\n╰━━╯ 漢é\x1b[1m")
    is_plain[0] = False
    file.write("─")
    assert line.getvalue() == "+- a -+\n|~^^#-|\n+--+ 漢é\x1b[1m─"
