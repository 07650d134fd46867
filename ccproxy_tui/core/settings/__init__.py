"""Settings: flags, then environment, `.env`, TOML, defaults, merged per field; the origin of each value is kept."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from ccproxy_tui.core.paths import Paths
from ccproxy_tui.core.settings import sources
from ccproxy_tui.core.settings.models import Settings
from ccproxy_tui.core.settings.seeds import MOVED, RETIRED, retired
from ccproxy_tui.core.settings.sources import DEFAULT, KeyPath, Layer, Origin

__all__ = [
    "Entry",
    "Loaded",
    "Origin",
    "Problem",
    "Settings",
    "SettingsError",
    "entries",
    "load",
    "toml_files",
]

CONFIG_VARIABLE = "CONFIG_FILE"
MASKED = "********"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the settings: which, where it was written, what is wrong."""

    key: str
    origin: Origin
    text: str

    def __str__(self) -> str:
        return f"{self.key} ({self.origin}): {self.text}" if self.key else f"{self.origin}: {self.text}"


class SettingsError(Exception):
    """The settings can't be used. `problems` holds every reason, in order."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(slots=True)
class Loaded:
    """The settings and how they came to be."""

    settings: Settings
    origins: dict[KeyPath, Origin]
    warnings: list[Problem]
    files: list[Path]
    write_to: Path
    flags: Mapping[str, tuple[KeyPath, Any]] = field(default_factory=dict)
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting for people: the Settings screen, `config show` and the README are made from these."""

    key: str
    value: str
    default: str
    origin: str
    kind: str
    allowed: str
    live: bool
    secret: bool
    description: str
    choices: list[str] = field(default_factory=list)


def toml_files(paths: Paths, cwd: Path) -> list[Path]:
    """Where TOML is looked for, nearest first: the folder, its repository's root, the user's config folder."""
    folders = [cwd]
    root = next((folder for folder in (cwd, *cwd.parents) if (folder / ".git").exists()), None)
    if root is not None and root != cwd:
        folders.append(root)
    names = [folder / name for folder in folders for name in (".ccproxy.toml", "ccproxy.toml")]
    return [*names, paths.config / "config.toml"]


def load(
    *,
    flags: Mapping[str, tuple[KeyPath, Any]] | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Loaded:
    """Read every source and merge them. Raises SettingsError with every problem at once."""
    environ = os.environ if environ is None else environ
    cwd = cwd or Path.cwd()
    known = frozenset(Settings.model_fields) | {path[0] for path in (*MOVED, *RETIRED)}
    chosen = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    candidates = [chosen] if chosen else toml_files(Paths.of_user(environ), cwd)
    if chosen and not chosen.is_file():
        raise SettingsError([Problem("", Origin("file", str(chosen)), "there is no such file")])
    files = [path for path in candidates if path.is_file()]
    layers = [
        sources.from_flags(flags or {}),
        sources.from_overrides(environ),
        sources.from_environment(environ, known),
        sources.from_dotenv(cwd / ".env", known),
        *(_read_toml(path) for path in files),
    ]
    origins = {path: origin for layer in reversed(layers) for path, origin in layer.origins.items()}
    return Loaded(
        settings=validate(layers, origins),
        origins=origins,
        warnings=list(_unknown(origins)),
        files=files,
        write_to=files[0] if files else candidates[-1],
        flags=flags or {},
        config=config,
    )


def _read_toml(path: Path) -> Layer:
    try:
        return sources.from_toml(path, path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([Problem("", Origin("file", str(path)), f"not valid TOML: {error}")]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([Problem("", Origin("file", str(path)), f"can't be read: {error}")]) from error


def validate(layers: list[Layer], origins: dict[KeyPath, Origin]) -> Settings:
    try:
        with sources.use_layers(layers):
            return Settings()
    except ValidationError as error:
        problems = [_problem(item["loc"], item["msg"], origins) for item in error.errors()]
        raise SettingsError(problems) from None


def _problem(loc: tuple[int | str, ...], message: str, origins: dict[KeyPath, Origin]) -> Problem:
    path = tuple(str(part) for part in loc)
    origin = next((origins[path[:end]] for end in range(len(path), 0, -1) if path[:end] in origins), None)
    if origin is None:
        origin = next((o for p, o in origins.items() if p[: len(path)] == path), DEFAULT)
    text = message.removeprefix("Value error, ")
    return Problem(".".join(path), origin, text[:1].lower() + text[1:])


def _unknown(origins: dict[KeyPath, Origin]) -> Iterator[Problem]:
    """Keys that no model has: old ones with the reason, others with the nearest name."""
    names = [".".join(path) for path, _ in leaves(Settings)]
    for path, origin in origins.items():
        if field_at(path) is not None:
            continue
        key = ".".join(path)
        if (reason := retired(path)) is not None:
            yield Problem(key, origin, f"has no effect here: {reason}")
            continue
        near = difflib.get_close_matches(key, names, n=1)
        yield Problem(key, origin, "no such setting" + (f"; did you mean {near[0]}?" if near else ""))


def _model_of(info: FieldInfo) -> type[BaseModel] | None:
    annotation = info.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _table_of(info: FieldInfo) -> type[BaseModel] | None:
    """The model of the values of a `dict[str, Model]` field."""
    if get_origin(info.annotation) is not dict:
        return None
    value = get_args(info.annotation)[1]
    return value if isinstance(value, type) and issubclass(value, BaseModel) else None


def field_at(path: KeyPath) -> FieldInfo | None:
    """The field that `path` names, or None."""
    model: type[BaseModel] | None = Settings
    index = 0
    while index < len(path):
        if model is None:
            return None
        info = model.model_fields.get(path[index])
        if info is None:
            return None
        index += 1
        if index == len(path):
            return info
        model = _model_of(info)
        if model is None and get_origin(info.annotation) is dict:
            table = _table_of(info)
            if table is None or index + 1 == len(path):
                return info
            model, index = table, index + 1
    return None


def leaves(model: type[BaseModel], prefix: KeyPath = ()) -> Iterator[tuple[KeyPath, FieldInfo]]:
    """Every setting that is not a table, in the order of the models."""
    for name, info in model.model_fields.items():
        inner = _model_of(info)
        if inner is not None:
            yield from leaves(inner, (*prefix, name))
        else:
            yield (*prefix, name), info


def entries(settings: Settings, origins: Mapping[KeyPath, Origin]) -> list[Entry]:
    """Every setting with its value, origin and what is allowed. Secrets are masked."""
    return [_entry(path, info, settings, origins) for path, info in leaves(Settings)]


def _entry(path: KeyPath, info: FieldInfo, settings: Settings, origins: Mapping[KeyPath, Origin]) -> Entry:
    value: Any = settings
    for part in path:
        value = getattr(value, part)
    extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    origin = origins.get(path) or next((o for p, o in origins.items() if p[: len(path)] == path), DEFAULT)
    choices = [str(choice) for choice in get_args(info.annotation)] if _is_literal(info) else []
    if info.annotation is bool:
        choices = ["true", "false"]
    return Entry(
        key=".".join(path),
        value=show(value),
        default=show(info.get_default(call_default_factory=True)),
        origin=str(origin),
        kind=_kind(info),
        allowed=_allowed(info, choices),
        live=bool(extra.get("live")),
        secret=_is_secret(info),
        description=info.description or "",
        choices=choices,
    )


def show(value: Any) -> str:
    """A value as TOML would spell it, more or less; secrets as a mask."""
    if value is None:
        return ""
    if isinstance(value, SecretStr):
        return MASKED if value.get_secret_value() else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (list, tuple)):
        return ", ".join(show(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={show(item)}" for key, item in value.items())
    if isinstance(value, BaseModel):
        return show({name: getattr(value, name) for name in type(value).model_fields})
    return str(value)


def _is_literal(info: FieldInfo) -> bool:
    from typing import Literal

    return get_origin(info.annotation) is Literal


def _is_secret(info: FieldInfo) -> bool:
    return info.annotation is SecretStr or SecretStr in get_args(info.annotation)


def _kind(info: FieldInfo) -> str:
    if _is_literal(info):
        return "choice"
    if _is_secret(info):
        return "secret"
    annotation = info.annotation
    if get_origin(annotation) is list:
        return "list"
    if get_origin(annotation) is dict:
        return "table"
    types = [part for part in (get_args(annotation) or (annotation,)) if part is not type(None)]
    names = {bool: "yes or no", int: "whole number", float: "number", str: "text", Path: "path"}
    return names.get(types[0], "text") if types else "text"


def _allowed(info: FieldInfo, choices: list[str]) -> str:
    if choices:
        return " | ".join(choices)
    low = next((getattr(m, name) for m in info.metadata for name in ("ge", "gt") if hasattr(m, name)), None)
    high = next((getattr(m, name) for m in info.metadata for name in ("le", "lt") if hasattr(m, name)), None)
    if low is None and high is None:
        return ""
    return f"{show(float(low)) if low is not None else ''}..{show(float(high)) if high is not None else ''}"
