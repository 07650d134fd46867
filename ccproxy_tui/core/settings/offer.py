"""What trusting the files of a folder would change, for someone who decides about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from ccproxy_tui.core.settings import Loaded, ProjectFile, is_secret
from ccproxy_tui.core.settings.project import values_of
from ccproxy_tui.core.settings.shown import key_text, shown
from ccproxy_tui.core.settings.sources import KeyPath
from ccproxy_tui.core.settings.trust import Record, TrustStore


@dataclass(frozen=True, slots=True)
class Change:
    """One setting: what the file wants, and what was trusted before, or else is in force ("" for nothing)."""

    key: str
    value: str
    before: str

    def __str__(self) -> str:
        if not self.value:
            return f"{self.key}: removed (was {self.before})"
        if self.value == self.before:
            return f"{self.key} = {self.value}"
        return f"{self.key} = {self.value}  (now {self.before})" if self.before else f"{self.key} = {self.value}"


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that can be trusted: a file, or what an agent reads in a folder. `note` says what it is."""

    path: Path
    digest: str
    shown: Mapping[str, str]
    changes: list[Change]
    note: str = ""
    known: bool = False  # trusted before, with another content

    def accept(self, store: TrustStore, now: float) -> None:
        """Trust exactly the content that was shown. Raises OSError."""
        store.trust(self.path, self.digest, self.shown, now)


def offers_of(loaded: Loaded, store: TrustStore) -> list[Offer]:
    """Return the project files whose settings wait for trust."""
    records = store.records()
    waiting = [file for file in loaded.project if file.waiting.origins]
    return [_offer(file, loaded, records.get(str(file.path))) for file in waiting]


def _offer(file: ProjectFile, loaded: Loaded, record: Record | None) -> Offer:
    wanted = {key: shown(key, value, secret=is_secret(key)) for key, value in values_of(file.waiting).items()}
    new = {key_text(key): text for key, text in wanted.items()}
    if record is not None:
        return Offer(file.path, file.digest, new, compared(new, record.shown), known=True)
    before = {key_text(key): _in_force(loaded, key) for key in wanted}
    return Offer(file.path, file.digest, new, compared(new, before))


def compared(new: Mapping[str, str], before: Mapping[str, str]) -> list[Change]:
    """Return every setting that is wanted, the changed ones first, and those that are gone."""
    changes = [Change(key, value, before.get(key, "")) for key, value in new.items()]
    gone = [Change(key, "", value) for key, value in before.items() if key not in new and value]
    return [*sorted(changes, key=lambda change: change.value == change.before), *gone]


def _in_force(loaded: Loaded, path: KeyPath) -> str:
    value: Any = loaded.settings
    for part in path:
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    if value is None or value == "":
        return ""
    if isinstance(value, SecretStr):
        return shown(path, value.get_secret_value(), secret=True)
    if isinstance(value, list):
        value = [_plain(one) for one in value]
    return shown(path, _plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_defaults=True)
    return str(value) if isinstance(value, Path) else value
