"""The user's own editor, which has the terminal while the screens go on without one."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import tempfile
import termios
from asyncio.subprocess import Process
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from textual.app import App

from ccproxy_tui.screens.ui.terminal import RESTORE

_END_SECONDS = 1.0  # that an editor has to end in when the screens end
# Cursor keys, keypad and modified keys as terminals send them at first: an editor that was killed leaves its own.
_PLAIN_KEYS = "\x1b[?1l\x1b>\x1b[>4m"


class EditorError(Exception):
    """The editor could not be started, or ended with a fault: its text is not taken."""


def editor_of(environ: Mapping[str, str]) -> str:
    """Return the command of the user's editor, empty if none is set."""
    return environ.get("VISUAL") or environ.get("EDITOR") or ""


async def edit(app: App[Any], editor: str, text: str, suffix: str) -> str:
    """Return what the editor leaves of `text`, in a file that only this user can read and that is removed after.

    Raises EditorError, SuspendNotSupported. The screens have the terminal again in each case but one: they end.
    """
    with app.suspend():  # it takes the terminal back only if nothing is raised in it
        try:
            return await _edit(editor, text, suffix)
        except OSError as error:
            problem = EditorError(error.strerror or str(error))
        except ValueError as error:
            problem = EditorError(str(error))
        except EditorError as error:
            problem = error
    raise problem


async def _edit(editor: str, text: str, suffix: str) -> str:
    """Raises EditorError, OSError, ValueError."""
    with _file_of(text, suffix) as path:
        with _modes_kept(), _keys_for_it_alone():
            await _run([*shlex.split(editor), str(path)])
        return _text_of(path)


@contextmanager
def _file_of(text: str, suffix: str) -> Iterator[Path]:
    handle, name = tempfile.mkstemp(prefix="ccproxy-", suffix=suffix)
    path = Path(name)
    try:
        os.close(handle)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        yield path
    finally:
        path.unlink(missing_ok=True)


def _text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "surrogatepass").removesuffix("\n")


async def _run(command: list[str]) -> None:
    """Raises EditorError, OSError."""
    process = await asyncio.create_subprocess_exec(*command)
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        await _end(process)
        raise
    if status:
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        raise EditorError(f"it {how}")


async def _end(process: Process) -> None:
    """The screens end, and their terminal is the shell's again."""
    process.terminate()
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()


@contextmanager
def _modes_kept() -> Iterator[None]:
    """Undo what an editor leaves that was killed, and drop keys that it has not read: they were not for the screens."""
    terminal = sys.__stdin__
    assert terminal is not None
    modes = termios.tcgetattr(terminal)
    try:
        yield
    finally:
        os.write(terminal.fileno(), (_PLAIN_KEYS + RESTORE).encode())
        termios.tcsetattr(terminal, termios.TCSAFLUSH, modes)


@contextmanager
def _keys_for_it_alone() -> Iterator[None]:
    """Ignore Ctrl+C and Ctrl+\\, which the terminal sends to the screens, too. The editor does not inherit this."""
    with ExitStack() as stack:
        for number in (signal.SIGINT, signal.SIGQUIT):
            stack.callback(signal.signal, number, signal.signal(number, lambda *_: None))
        yield
