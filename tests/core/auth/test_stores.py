"""Where logins lie: files, the environment, the keychain; and what is said when they can't be used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keyring
import keyring.backend
import keyring.errors
import pytest

from ccproxy_tui.core.auth.claude_file import ClaudeFile, keychain_of
from ccproxy_tui.core.auth.codex_file import CodexFile
from ccproxy_tui.core.auth.credentials import Credential
from ccproxy_tui.core.auth.json_file import JsonFile, UnreadableCredentials
from ccproxy_tui.core.system.clock import SystemClock
from ccproxy_tui.core.system.paths import Paths
from tests.conftest import FAR_FUTURE, write_claude_login


def claude_file(**environ: str) -> ClaudeFile:
    return ClaudeFile(Paths.of_user(), SystemClock(), environ, keychain_of({"USER": "me", **environ}))


def test_a_file_without_a_login_hides_no_other(tmp_path: Path) -> None:
    """Tools keep other things in the file of the first place; who has logged in since may be in the second."""
    places = [tmp_path / "a.json", tmp_path / "b.json"]
    file = JsonFile(places, places[0], lambda found, source: Credential("oauth", found["t"]), SystemClock(), keys=["t"])
    places[0].write_text('{"other": 1}')
    assert file.read(recheck=True) is None
    places[1].write_text('{"t": "second"}')
    found = file.read(recheck=True)
    assert found is not None
    assert found.secret == "second"
    places[0].write_text('{"t": "first"}')
    found = file.read(recheck=True)
    assert found is not None
    assert found.secret == "first"


class Ring(keyring.backend.KeyringBackend):
    """A keychain in memory."""

    priority = 1  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.entries: dict[tuple[str, str], str] = {}
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise keyring.errors.KeyringLocked("s3cret words")
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        if self.locked:
            raise keyring.errors.KeyringLocked("s3cret words")
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


@pytest.fixture
def ring() -> Iterator[Ring]:
    before = keyring.get_keyring()
    ring = Ring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


LOGIN: dict[str, Any] = {"claudeAiOauth": {"accessToken": "from-ring", "expiresAt": FAR_FUTURE}, "other": 1}


def test_the_environments_token_comes_first_and_is_never_renewed() -> None:
    write_claude_login()
    found = claude_file(CLAUDE_CODE_OAUTH_TOKEN="sk-ant-oat01-x").read()
    assert found is not None
    assert (found.secret, found.expires_at, found.renewable) == ("sk-ant-oat01-x", None, False)
    assert found.source == "CLAUDE_CODE_OAUTH_TOKEN"


def test_the_keychain_is_read_and_written_where_no_file_is(ring: Ring) -> None:
    file = claude_file()
    assert file.read() is None
    ring.entries["Claude Code-credentials", "me"] = json.dumps(LOGIN)
    found = file.read(recheck=True)
    assert found is not None
    assert (found.secret, found.source) == ("from-ring", "keychain:Claude Code-credentials")
    assert file.target == found.source
    file.save(found.source, {**file.document(found.source), "claudeAiOauth": {"accessToken": "newer"}})
    assert json.loads(ring.entries["Claude Code-credentials", "me"]) == {
        "other": 1,
        "claudeAiOauth": {"accessToken": "newer"},
    }
    assert file.read(recheck=True) is not None
    path = write_claude_login(accessToken="from-file")
    found = file.read(recheck=True)
    assert found is not None
    assert (found.secret, file.target) == ("from-file", str(path))


def test_each_configuration_folder_has_its_own_entry() -> None:
    assert keychain_of({"USER": "me"}).service == "Claude Code-credentials"
    assert keychain_of({"USER": "me", "CLAUDE_CONFIG_DIR": "/x"}).service == "Claude Code-credentials-b3d1db31"


def test_a_locked_keychain_is_said_without_its_words(ring: Ring) -> None:
    ring.locked = True
    with pytest.raises(UnreadableCredentials, match="KeyringLocked") as caught:
        claude_file().read()
    assert "s3cret" not in str(caught.value)
    with pytest.raises(OSError, match="can't be written"):
        claude_file().save("keychain:Claude Code-credentials", {})


def test_a_file_with_other_keys_alone_is_no_login() -> None:
    path = write_claude_login()
    path.write_text('{"mcpOAuth": {"x": 1}}')
    assert claude_file().read() is None


def test_an_api_key_alone_is_a_codex_login_too() -> None:
    path = Path.home() / ".codex" / "auth.json"
    path.parent.mkdir()
    path.write_text('{"OPENAI_API_KEY": "sk-key"}')
    found = CodexFile(Paths.of_user(), SystemClock(), {}).read()
    assert found is not None
    assert (found.kind, found.secret, found.renewable) == ("api_key", "sk-key", False)


def test_a_file_that_others_can_read_is_warned_of() -> None:
    path = write_claude_login()
    file = claude_file()
    path.chmod(0o644)
    file.read()
    assert file.warning == f"{path} can be read by other users: chmod 600 {path}"
    path.chmod(0o600)
    file.read(recheck=True)
    assert file.warning == ""
