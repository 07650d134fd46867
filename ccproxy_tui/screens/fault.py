"""Faults of the screens: which screen one is of, how often they come, and the plain screen when they do not stop."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual._context import active_message_pump
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message_pump import MessagePump
from textual.screen import Screen
from textual.widgets import Static
from textual.worker import WorkerFailed, active_worker

from ccproxy_tui.core.text.escape import escape_line
from ccproxy_tui.core.text.redact import redact_text

if TYPE_CHECKING:
    from ccproxy_tui.app import CCProxyApp

REPEATED = 3  # faults within SECONDS; then the screen is not built again by itself
SECONDS = 10.0
_WORDS = 120


class FaultRate:
    """Counts faults. One that comes again at once is no accident, and building the screen again is of no use."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=REPEATED)

    def add(self, now: float) -> bool:
        """Count one. Return whether they repeat."""
        self._times.append(now)
        return len(self._times) == REPEATED and now - self._times[0] < SECONDS

    def clear(self) -> None:
        self._times.clear()


def screen_at_fault() -> Screen[Any] | None:
    """Return the screen whose code runs now; None when it is the app's."""
    node: MessagePump | None = active_message_pump.get(None)
    worker = active_worker.get(None)
    if worker is not None and (node is None or node.app is node):
        node = worker.node
    while node is not None and not isinstance(node, Screen):
        node = node._parent
    return node


def cause_of(error: Exception) -> BaseException:
    """Return what a worker failed with, or the error itself."""
    return error.error if isinstance(error, WorkerFailed) else error


def words_of(error: BaseException) -> str:
    """Return the error in one line that is safe to show."""
    text = redact_text(escape_line(f"{type(error).__name__}: {error}".splitlines()[0]))
    return text if len(text) <= _WORDS else f"{text[:_WORDS]}…"


class FaultScreen(Screen[None]):
    """Takes the place of screens that can't be built. Plain on purpose: nothing here reads the mirror."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "build", "rebuild the screens", id="fault.build", priority=True),
        Binding("q,ctrl+q", "quit('leave')", "quit", id="fault.quit", priority=True),
        Binding("s", "quit('stop')", "stop the proxy and quit", id="fault.stop", priority=True),
    ]

    def __init__(self, problem: str, log_file: str) -> None:
        super().__init__()
        self._problem = problem
        self._log_file = log_file

    @property
    def proxy_app(self) -> CCProxyApp:
        return cast("CCProxyApp", self.app)

    def compose(self) -> ComposeResult:
        yield Static(self._text(), markup=False)

    def _text(self) -> str:
        app = self.proxy_app
        if not app.session.source.owned:
            ways = "q  quit"
        elif app.is_demo:
            ways = "q  stop the demo and quit"
        else:
            ways = "q  quit and leave the proxy running\n s  stop the proxy and quit"
        return (
            f" The screens keep failing. The proxy is still running.\n\n {self._problem}\n"
            f" Details: {self._log_file}\n\n r  rebuild the screens\n {ways}"
        )

    def action_build(self) -> None:
        self.proxy_app.build_again()

    def action_quit(self, outcome: str) -> None:
        app = self.proxy_app
        if not app.session.source.owned:
            outcome = "leave"
        elif app.is_demo:
            outcome = "stop"
        app.exit(outcome, return_code=0)
