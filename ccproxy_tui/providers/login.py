"""The credential of a provider whose login belongs to another program, and its health in words."""

from __future__ import annotations

from ccproxy_tui.core.auth.credentials import Credential, state_of
from ccproxy_tui.core.auth.json_file import JsonFile, UnreadableCredentials
from ccproxy_tui.core.clock import Clock
from ccproxy_tui.core.errors import NoCredentials
from ccproxy_tui.core.frames import AccountView


class Login:
    """`hint` is the next step for the person when the login can't be used."""

    def __init__(self, provider: str, title: str, file: JsonFile, clock: Clock, hint: str) -> None:
        self._provider = provider
        self._title = title
        self._file = file
        self._clock = clock
        self._hint = hint

    def credential(self) -> Credential:
        """What to authenticate with. Raises NoCredentials with the next step."""
        try:
            credential = self._file.read()
        except UnreadableCredentials as error:
            raise NoCredentials(f"The {self._title} credentials can't be used: {error}.", hint=self._hint) from error
        if credential is None:
            raise NoCredentials(f"No {self._title} credentials were found.", hint=self._hint)
        if credential.expired(self._clock.now()):
            raise NoCredentials(f"The {self._title} login has expired.", hint=self._hint)
        return credential

    def view(self) -> AccountView:
        try:
            credential = self._file.read()
        except UnreadableCredentials as error:
            return AccountView(self._provider, "", "unreadable", hint=str(error))
        word, ok = state_of(credential, self._clock.now())
        plan = credential.plan if credential else ""
        return AccountView(self._provider, plan, word, ok=ok, hint="" if ok else self._hint)
