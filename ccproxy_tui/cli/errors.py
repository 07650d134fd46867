"""How commands fail: one line that says what is wrong and what to do, and an exit status."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import IO, Any, ParamSpec, TypeVar

import click

from ccproxy_tui.core.text.escape import escape_line

P = ParamSpec("P")
R = TypeVar("R")

FAILURE = 1
USAGE = 2
PORT_BUSY = 3
NOT_RUNNING = 4


class Failure(click.ClickException):
    """Printed as `error: ...`, then the process exits with `code`."""

    def __init__(self, message: str, code: int = FAILURE) -> None:
        super().__init__(message)
        self.exit_code = code  # type: ignore[misc]  # click declares it as a class variable and reads it from the instance

    def show(self, file: IO[Any] | None = None) -> None:
        for line in self.message.splitlines():
            click.echo(f"error: {escape_line(line)}", file=file, err=file is None)


def os_words(error: OSError) -> str:
    """Return what the system refused, and for which file, in one line."""
    reason = error.strerror or str(error) or type(error).__name__
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return f"{' -> '.join(names)}: {reason}." if names else f"{reason}."


def explain(command: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that a user can do something about into a Failure."""

    @functools.wraps(command)
    def explained(*args: P.args, **kwargs: P.kwargs) -> R:
        from ccproxy_tui.core.control.protocol import ControlError
        from ccproxy_tui.core.settings import SettingsError
        from ccproxy_tui.core.system.paths import NotOurs

        try:
            return command(*args, **kwargs)
        except SettingsError as error:
            raise Failure("\n".join(str(problem) for problem in error.problems), USAGE) from error
        except (ControlError, NotOurs) as error:
            raise Failure(str(error), FAILURE) from error
        except BrokenPipeError:  # the reader of our output has ended: click exits without a word
            raise
        except OSError as error:
            raise Failure(os_words(error), FAILURE) from error

    return explained
