"""Where settings come from: flags, environment, `.env`, TOML files. Each source keeps the origin of every value."""

from __future__ import annotations

import io
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from ccproxy_tui.core.settings.seeds import modern

KeyPath = tuple[str, ...]
OriginKind = Literal["flag", "env", ".env", "file", "default"]
OVERRIDES_VARIABLE = "CCPROXY_CONFIG_OVERRIDES"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value came from: the kind of source, and the flag, variable or file:line in it.

    `trusted` marks a file of a project folder that may set anything, because you have trusted it.
    """

    kind: OriginKind
    where: str = ""
    trusted: bool = False

    def __str__(self) -> str:
        words = f"{self.kind} {self.where}".strip()
        return f"project file, trusted: {words}" if self.trusted else words


DEFAULT = Origin("default")


@dataclass(slots=True)
class Layer:
    """What one source says: nested values, and the origin of each leaf."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, Origin] = field(default_factory=dict)

    def put(self, path: KeyPath, value: Any, origin: Origin) -> None:
        path = modern(path)
        if not path or (isinstance(value, dict) and not value):
            return
        if isinstance(value, dict):
            for key, inner in value.items():
                self.put((*path, str(key)), inner, origin)
            return
        target = self.values
        for key in path[:-1]:
            inner = target.setdefault(key, {})
            if not isinstance(inner, dict):  # a plain value stands where a table is meant: the model will say so
                return
            target = inner
        target[path[-1]] = value
        self.origins[path] = origin


_active: ContextVar[tuple[Layer, ...]] = ContextVar("layers", default=())


def active_layers() -> tuple[Layer, ...]:
    return _active.get()


@contextmanager
def use_layers(layers: list[Layer]) -> Iterator[None]:
    token = _active.set(tuple(layers))
    try:
        yield
    finally:
        _active.reset(token)


class LayerSource(PydanticBaseSettingsSource):
    """Hands one layer to pydantic-settings, which merges them per field, first one wins."""

    def __init__(self, settings_cls: type[BaseSettings], layer: Layer) -> None:
        super().__init__(settings_cls)
        self._layer = layer

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._layer.values.get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return self._layer.values


def from_flags(flags: Mapping[str, tuple[KeyPath, Any]]) -> Layer:
    """`flags`: the flag as it was typed -> the setting it stands for and its value."""
    layer = Layer()
    for flag, (path, value) in flags.items():
        layer.put(path, value, Origin("flag", flag))
    return layer


def from_environment(environ: Mapping[str, str], sections: frozenset[str]) -> Layer:
    """`SECTION__FIELD=value`, in any case. Variables without `__` are never ours."""
    layer = Layer()
    for name, text in environ.items():
        path = _variable_path(name, sections)
        if path is not None:
            layer.put(path, _plain_value(text), Origin("env", name))
    return layer


def from_overrides(environ: Mapping[str, str]) -> Layer:
    """Flags handed from one of our processes to another, as JSON in one variable: `{flag: [path, value]}`."""
    text = environ.get(OVERRIDES_VARIABLE, "")
    if not text:
        return Layer()
    flags = json.loads(text)
    return from_flags({flag: (tuple(path), value) for flag, (path, value) in flags.items()})


def from_dotenv(name: str, text: str, sections: frozenset[str]) -> Layer:
    """The same names in the text of a `.env` file, which origins call `name`.

    `${NAME}` stays as it is written: a file must not read the environment.
    """
    from dotenv.parser import parse_stream

    layer = Layer()
    for binding in parse_stream(io.StringIO(text)):
        key = _variable_path(binding.key or "", sections)
        if key is not None and binding.value is not None:
            line = binding.original.line + _blank_lines(binding.original.string)
            layer.put(key, _plain_value(binding.value), Origin(".env", f"{name}:{line} {binding.key}"))
    return layer


def _blank_lines(text: str) -> int:
    """The lines before a variable that the parser counts as its own."""
    return len(text[: len(text) - len(text.lstrip())].splitlines())


def trusted(layer: Layer) -> Layer:
    """The same layer, as of a project file that was trusted."""
    return Layer(layer.values, {path: replace(origin, trusted=True) for path, origin in layer.origins.items()})


def from_toml(path: Path, text: str) -> Layer:
    """One TOML file. Raises ValueError (tomllib.TOMLDecodeError) when it is not TOML."""
    layer = Layer()
    lines = key_lines(text)

    def walk(values: dict[str, Any], prefix: KeyPath) -> None:
        for key, value in values.items():
            here = (*prefix, key)
            if isinstance(value, dict):
                walk(value, here)
            else:
                layer.put(here, value, Origin("file", f"{path}:{lines.get(here, 1)}"))

    values = tomllib.loads(text)
    _check_numbers(values)
    walk(values, ())
    return layer


def _check_numbers(value: Any) -> None:
    """Raises ValueError for a whole number beyond 64 bits, TOML's own limit: Python can't print one of many digits."""
    if isinstance(value, int) and value.bit_length() > 63:
        raise ValueError("a number has more than 64 bits")
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            _check_numbers(inner)


_TABLE = re.compile(r"^\s*\[\[?([^\]]+)\]")
_KEY = re.compile(r"""^\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*=""")


def key_lines(text: str) -> dict[KeyPath, int]:
    """The line of each key of a TOML text, for messages. Values over several lines are passed over by their look."""
    lines: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for number, line in enumerate(text.splitlines(), 1):
        if (match := _TABLE.match(line)) is not None and "=" not in match.group(1):
            table = _dotted(match.group(1))
            lines.setdefault(table, number)
        elif (match := _KEY.match(line)) is not None:
            lines.setdefault(table + _dotted(match.group(1)), number)
    return lines


def _dotted(text: str) -> KeyPath:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def _variable_path(name: str, sections: frozenset[str]) -> KeyPath | None:
    parts = tuple(name.lower().split("__"))
    if len(parts) < 2 or not all(parts) or parts[0] not in sections:
        return None
    return parts


def _plain_value(text: str) -> Any:
    """JSON for lists and tables; everything else stays text, which the model converts."""
    if text[:1] in "[{" and text[-1:] in "]}":
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text
