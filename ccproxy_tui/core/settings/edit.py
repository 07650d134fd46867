"""Changing a TOML file: comments and order stay, the result is validated first, the file is replaced whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from pydantic import TypeAdapter, ValidationError
from tomlkit.exceptions import TOMLKitError

from ccproxy_tui.core.settings import Problem, SettingsError, entries, field_at, is_secret, leaves, load, show, validate
from ccproxy_tui.core.settings.masked import MASKED
from ccproxy_tui.core.settings.models import PermissionRule, Settings
from ccproxy_tui.core.settings.project import values_of
from ccproxy_tui.core.settings.shown import holds_secret
from ccproxy_tui.core.settings.sources import KeyPath, Layer, Origin, from_toml
from ccproxy_tui.core.system.files import Room, content_of, sweep, turn
from ccproxy_tui.core.text.redact import MASK, redact_text

_TRIES = 10
_RULES: KeyPath = ("permissions", "rules")

Changes = Mapping[KeyPath, Any]  # None removes a key


class _NoTable(Exception):
    """Something else has the name of a table."""


def set_values(path: Path, changes: Changes) -> None:
    """Write `changes` into the file at `path`, which is made when it is not there.

    A file with a secret in it becomes readable by the user alone.

    Raises SettingsError when a key is unknown, a value is not allowed, or the file is not TOML; the file is then as
    it was. Raises OSError when it can't be written.
    """
    rewrite(path, lambda _: changes)


def rewrite(path: Path, changes_of: Callable[[Mapping[KeyPath, Any]], Changes]) -> None:
    """Write the changes that `changes_of` makes of the values that the file has now. Raises as `set_values`.

    Writers of ours take turns. When another program, such as an editor, has written in the time, it starts again.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():  # to read a FIFO waits for ever
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with turn(target.parent):
        sweep(target)
        for _ in range(_TRIES):
            if _rewritten(path, target, changes_of):
                return
    raise OSError(errno.EAGAIN, "another program keeps writing it", str(path))


def _rewritten(path: Path, target: Path, changes_of: Callable[[Mapping[KeyPath, Any]], Changes]) -> bool:
    before = content_of(target)
    try:
        text = (before or b"").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError([Problem("", Origin("file", str(path)), f"can't be read: {error}")]) from error
    after = edited(text, changes_of(values_of(_layer(path, text))), path)
    mode = 0o600 if _holds_secret(_layer(path, after)) else None
    data = after.encode()
    with Room(target, len(data), mode=mode) as room:
        return room.fill_over(before, data)


def rewrite_rules(path: Path, add: Sequence[PermissionRule], remove: Sequence[PermissionRule]) -> None:
    """Change the rules that the file at `path` itself has. Raises SettingsError, also when one to remove is not there;
    or OSError.
    """

    def changes_of(values: Mapping[KeyPath, Any]) -> Changes:
        own = _rules_of(values, path)
        if missing := next((one.rule for one in remove if one not in own), ""):
            text = "not in this file; change it where it comes from (see Settings)"
            raise SettingsError([Problem(missing, Origin("file", str(path)), text)])
        kept = [one for one in own if one not in remove]
        new = [one for one in add if one not in kept]
        return {_RULES: [one.model_dump(exclude_defaults=True) for one in (*kept, *new)]}

    rewrite(path, changes_of)


def _rules_of(values: Mapping[KeyPath, Any], path: Path) -> list[PermissionRule]:
    """Raises SettingsError."""
    try:
        return TypeAdapter(list[PermissionRule]).validate_python(values.get(_RULES) or [])
    except ValidationError as error:
        text = redact_text(error.errors()[0]["msg"].removeprefix("Value error, "))
        raise SettingsError([Problem(".".join(_RULES), Origin("file", str(path)), text)]) from None


def edited(text: str, changes: Mapping[KeyPath, Any], path: Path) -> str:
    """The text of the file after `changes`, validated."""
    try:
        document = tomlkit.parse(text)
    except TOMLKitError as error:
        raise SettingsError([Problem("", Origin("file", str(path)), f"not valid TOML: {error}")]) from error
    for key, value in changes.items():
        if field_at(key) is None:
            raise SettingsError([Problem(".".join(key), Origin("file", str(path)), "no such setting")])
        try:
            _put(document, key, value)
        except _NoTable as error:
            raise SettingsError([Problem(".".join(key), Origin("file", str(path)), str(error))]) from None
    result = tomlkit.dumps(document)
    _check(result, path)
    return result


def parse_value(key: KeyPath, text: str) -> Any:
    """`text` as typed by a person, as the value of the setting `key`. Raises SettingsError when it is not allowed."""
    info = field_at(key)
    if info is None:
        raise SettingsError([Problem(".".join(key), Origin("default"), "no such setting")])
    if MASK in text or MASKED in text:
        text = "a secret in it is masked; type the whole value"
        raise SettingsError([Problem(".".join(key), Origin("default"), text)])
    field: Any = Settings
    for part in key[:-1]:
        field = field.model_fields[part].annotation
        if not isinstance(field, type) or not hasattr(field, "model_fields"):
            text = "a part of a table, which is changed in the file"
            raise SettingsError([Problem(".".join(key), Origin("default"), text)])
    try:
        model = field.__pydantic_validator__.validate_assignment(field.model_construct(), key[-1], text)
    except ValidationError as error:
        message = redact_text(error.errors()[0]["msg"].removeprefix("Value error, "))  # it may quote the value
        raise SettingsError([Problem(".".join(key), Origin("default"), message[:1].lower() + message[1:])]) from None
    value = getattr(model, key[-1])
    return TypeAdapter(type(value)).dump_python(value, mode="json") if not hasattr(value, "get_secret_value") else text


def _put(document: Any, key: KeyPath, value: Any) -> None:
    table = document
    for part in key[:-1]:
        if part not in table:
            if value is None:
                return
            table[part] = tomlkit.table(is_super_table=part != key[-2])
        table = table[part]
        if not isinstance(table, MutableMapping):
            raise _NoTable(f"{part} is no table in this file")
    if value is None:
        table.pop(key[-1], None)
    elif key[-1] in table and hasattr(table[key[-1]], "trivia"):
        item = tomlkit.item(value)
        item.trivia.comment_ws = table[key[-1]].trivia.comment_ws
        item.trivia.comment = table[key[-1]].trivia.comment
        table[key[-1]] = item
    else:
        table[key[-1]] = value


def _check(text: str, path: Path) -> None:
    """Validate `text` as if it were the only source. Problems carry the real path, not the stand-in's."""
    layer = _layer(path, text)
    validate([layer], layer.origins)


def _layer(path: Path, text: str) -> Layer:
    """Raises SettingsError."""
    try:
        return from_toml(path, text)
    except ValueError as error:  # TOMLDecodeError, and a number of too many digits
        raise SettingsError([Problem("", Origin("file", str(path)), f"not valid TOML: {error}")]) from error


def _holds_secret(layer: Layer) -> bool:
    return any(holds_secret(key, value, secret=is_secret(key)) for key, value in values_of(layer).items())


def template() -> str:
    """A commented TOML file with every setting, its default and what is allowed: what `config init` writes."""
    lines = ["# ccproxy-tui settings. Every key is optional; remove the # to change one.", ""]
    table: KeyPath = ()
    defaults = load(environ={"HOME": os.devnull}, cwd=Path(os.devnull).parent / "ccproxy-nowhere").settings
    notes = {entry.key: entry for entry in entries(defaults, {})}
    for path, _ in leaves(Settings):
        if path[:-1] != table:
            table = path[:-1]
            lines += ["", f"[{'.'.join(table)}]"]
        entry = notes[".".join(path)]
        allowed = f" ({entry.allowed})" if entry.allowed else ""
        lines += [f"# {entry.description}{allowed}", f"# {path[-1]} = {_literal(defaults, path)}"]
    return "\n".join(lines) + "\n"


def _literal(settings: Settings, path: KeyPath) -> str:
    value: Any = settings
    for part in path:
        value = getattr(value, part)
    if value is None or hasattr(value, "get_secret_value"):
        return '""'
    if isinstance(value, Path):
        value = str(value)
    return tomlkit.item(value).as_string() if not isinstance(value, dict) else "{}" if not value else show(value)
