"""What Textual leaves to us: the title, the bell, the clipboard's fall-backs, and a terminal put back in any case."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ccproxy_tui.core.system.logging import private_opener
from ccproxy_tui.core.text.escape import escape_line

# Leave the alternate screen; mouse, focus and paste reporting off; line wrap on; cursor on; kitty keys off.
RESTORE = (
    "\x1b[<u\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1004l\x1b[?2004l\x1b[?2048l\x1b[?7h"
    "\x1b[?1049l\x1b[?25h"
)
PUSH_TITLE = "\x1b[22;2t"
POP_TITLE = "\x1b[23;2t"
OSC52_LIMIT = 74_994  # encoded bytes that common terminals take


def is_dumb(environ: Mapping[str, str]) -> bool:
    """Whether the terminal can't show screens."""
    return environ.get("TERM", "") in ("", "dumb")


def theme_for(environ: Mapping[str, str]) -> str:
    """A theme for what the terminal says of itself."""
    if "NO_COLOR" in environ:
        return "mono"
    term = environ.get("TERM", "")
    if environ.get("COLORTERM", "").lower() in ("truecolor", "24bit") or "256color" in term or "direct" in term:
        return "dark"
    return "ansi"


def over_ssh(environ: Mapping[str, str]) -> bool:
    return bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))


def set_title(write: Callable[[str], None], text: str) -> None:
    """OSC 2. The text is data: it can't hold a control character."""
    write(f"\x1b]2;{escape_line(text)}\x07")


def notify(write: Callable[[str], None], text: str, environ: Mapping[str, str]) -> None:
    """The terminal shows a notification, if it can: OSC 99 (kitty), 777 (urxvt, foot, ghostty, wezterm), else 9.

    Inside tmux it is passed through, and the terminal around it is not known: then all that read OSC 9 see it.
    """
    shown = escape_line(text)
    term = environ.get("TERM", "")
    if "kitty" in term or "KITTY_WINDOW_ID" in environ:
        sequence = f"\x1b]99;;{shown}\x1b\\"
    elif term.startswith(("rxvt", "foot", "xterm-ghostty")) or environ.get("TERM_PROGRAM") in ("ghostty", "WezTerm"):
        sequence = f"\x1b]777;notify;ccproxy;{shown.replace(';', ',')}\x1b\\"
    else:
        sequence = f"\x1b]9;{shown}\x07"
    if environ.get("TMUX"):
        sequence = "\x1bPtmux;" + sequence.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    write(sequence)


def copy(text: str, osc52: Callable[[str], None], folder: Path, environ: Mapping[str, str]) -> str:
    """Hand `text` to the clipboard: OSC 52, and tmux's buffer when inside tmux. Says where it went.

    A text too large for OSC 52 goes to a file of the user alone.
    """
    encoded = len(base64.b64encode(text.encode("utf-8", "replace")))
    where = []
    if encoded <= OSC52_LIMIT:
        osc52(text)
        where.append("clipboard")
    if environ.get("TMUX") and shutil.which("tmux") and _to_tmux(text):
        where.append("tmux buffer")
    if encoded > OSC52_LIMIT:
        where.append(str(_to_file(text, folder)))
    return " and ".join(where)


def _to_tmux(text: str) -> bool:
    try:
        done = subprocess.run(
            ["tmux", "load-buffer", "-w", "-"],
            input=text.encode("utf-8", "replace"),
            capture_output=True,
            timeout=2,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _to_file(text: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "copied.txt"
    with open(path, "w", encoding="utf-8", errors="replace", opener=private_opener) as file:
        file.write(text)
    return path


def restore_terminal() -> None:
    """The last resort at exit: whatever happened, the shell gets a sane terminal."""
    for stream in (sys.__stderr__, sys.__stdout__):
        try:
            if stream is not None and stream.isatty():
                os.write(stream.fileno(), RESTORE.encode())
                return
        except (OSError, ValueError):  # the terminal is gone: nothing is left to restore
            continue
