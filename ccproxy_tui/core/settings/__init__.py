"""Settings: flags, then environment, `.env`, TOML, defaults, merged per field; the origin of each value is kept."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from ccproxy_tui.core.settings import sources
from ccproxy_tui.core.settings.files import DOTENV_NAME, PROJECT_LIMIT, TOML_NAMES, Refused, project_folders, read_own
from ccproxy_tui.core.settings.masked import masked_value
from ccproxy_tui.core.settings.models import Settings
from ccproxy_tui.core.settings.project import HARMLESS, split, values_of, without
from ccproxy_tui.core.settings.seeds import MOVED, RETIRED, retired
from ccproxy_tui.core.settings.shown import holds_secret
from ccproxy_tui.core.settings.sources import DEFAULT, KeyPath, Layer, Origin
from ccproxy_tui.core.settings.trust import TrustStore, trusts_folder
from ccproxy_tui.core.system.paths import Paths
from ccproxy_tui.core.text.redact import redact_text

__all__ = [
    "Entry",
    "Ignored",
    "Loaded",
    "Origin",
    "Problem",
    "Settings",
    "SettingsError",
    "entries",
    "load",
]

CONFIG_VARIABLE = "CONFIG_FILE"
NOT_TRUSTED = "not trusted; `ccproxy-tui trust` shows them"
_KEYS_SHOWN, _KEY_SHOWN = 8, 80


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


@dataclass(frozen=True, slots=True)
class Ignored:
    """A file, or settings of it, that are not used, and why."""

    path: Path
    reason: str
    keys: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.keys:
            return f"{self.path} is ignored: {self.reason}"
        names = [key if len(key) <= _KEY_SHOWN else f"{key[:_KEY_SHOWN]}…" for key in self.keys[:_KEYS_SHOWN]]
        more = f" and {len(self.keys) - _KEYS_SHOWN} more" if len(self.keys) > _KEYS_SHOWN else ""
        settings = "1 setting" if len(self.keys) == 1 else f"{len(self.keys)} settings"
        return f"{self.path}: {settings} ignored ({self.reason}): {', '.join(names)}{more}"


@dataclass(slots=True)
class Loaded:
    """The settings and how they came to be. `write_to` is never a file of a project folder, unless it was named."""

    settings: Settings
    origins: dict[KeyPath, Origin]
    warnings: list[Problem]
    files: list[Path]
    write_to: Path
    flags: Mapping[str, tuple[KeyPath, Any]] = field(default_factory=dict)
    config: Path | None = None
    ignored: list[Ignored] = field(default_factory=list)
    exposed: list[Problem] = field(default_factory=list)
    project: list[ProjectFile] = field(default_factory=list)

    def prevailing(self, path: KeyPath) -> Origin | None:
        """Return the source that wins over what `write_to` says of a setting, or None when that file decides."""
        for key in (path, *(key for key in self.origins if key[: len(path)] == path)):
            origin = self.origins.get(key)
            if origin is not None and not (origin.kind == "file" and origin.where.startswith(f"{self.write_to}:")):
                return origin
        return None

    def taking(self, path: KeyPath, fresh: Loaded) -> Loaded:
        """Return this with one setting of `fresh`, and nothing else of it: another program may have changed the files.

        Raises KeyError when the setting is in a table that is not there yet.
        """
        kept = {key: origin for key, origin in self.origins.items() if key[: len(path)] != path}
        new = {key: origin for key, origin in fresh.origins.items() if key[: len(path)] == path}
        return replace(self, settings=_taking(self.settings, path, fresh.settings), origins={**kept, **new})

    def has_value_of(self, other: Loaded, path: KeyPath) -> bool:
        """Return whether a setting has the same value in both."""
        return bool(_value_at(self.settings, path) == _value_at(other.settings, path))

    def is_from_stranger(self, path: KeyPath) -> bool:
        """Return whether a setting in force comes from a project file that is not trusted."""
        origin = self.origins.get(path)
        return any(not file.trusted and file.layer.origins.get(path) is origin for file in self.project if origin)

    @property
    def project_words(self) -> str:
        """What files of the project folder decide, in one line; "" for nothing."""
        parts = []
        for file in self.project:
            keys = [".".join(key) for key, origin in self.from_project.items() if file.layer.origins.get(key) is origin]
            if keys:
                settings = "1 setting" if len(keys) == 1 else f"{len(keys)} settings"
                more = f" and {len(keys) - _KEYS_SHOWN} more" if len(keys) > _KEYS_SHOWN else ""
                parts.append(f"{settings} of {_near(file.path)} in force: {', '.join(keys[:_KEYS_SHOWN])}{more}")
        return "; ".join(parts)

    @property
    def from_project(self) -> dict[KeyPath, Origin]:
        """The settings in force that come from a trusted project file and are more than looks."""
        return {path: origin for path, origin in self.origins.items() if origin.trusted and path not in HARMLESS}


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
    pending: str | None = None  # the value after a restart, where that is another one


def load(
    *,
    flags: Mapping[str, tuple[KeyPath, Any]] | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Loaded:
    """Read every source and merge them. Raises SettingsError with every problem at once.

    Files of the project folder set what is harmless; the rest of them counts once you have trusted them. What was not
    used is in `ignored`.
    """
    environ = os.environ if environ is None else environ
    paths = Paths.of_user(environ)
    chosen = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    if chosen and not chosen.is_file():
        raise SettingsError([Problem("", Origin("file", str(chosen)), "there is no such file")])
    found = read_project(paths, environ, cwd or Path.cwd(), toml=chosen is None)
    own = _Own(paths, found.ignored)
    user_file = paths.config / "config.toml"
    layers = [
        sources.from_flags(flags or {}),
        sources.from_overrides(environ),
        sources.from_environment(environ, sections()),
        *(file.layer for file in found.files if file.is_dotenv),
        own.dotenv(),
        *(file.layer for file in found.files if not file.is_dotenv),
        _read_toml(chosen) if chosen else own.toml(user_file),
    ]
    origins = {path: origin for layer in reversed(layers) for path, origin in layer.origins.items()}
    return Loaded(
        settings=validate(layers, origins),
        origins=origins,
        warnings=list(_unknown(origins)),
        files=[chosen] if chosen else [file.path for file in found.files if not file.is_dotenv] + own.files,
        write_to=chosen or user_file,
        flags=flags or {},
        config=config,
        ignored=found.ignored,
        exposed=own.exposed if not chosen else list(_exposed(chosen, layers[-1], chosen.stat().st_mode)),
        project=found.files,
    )


def _taking(model: Any, path: KeyPath, fresh: Any) -> Any:
    name, below = path[0], path[1:]
    if isinstance(model, dict):
        return {**model, name: _taking(model[name], below, fresh[name])}
    value = getattr(fresh, name)
    return model.model_copy(update={name: _taking(getattr(model, name), below, value) if below else value})


def _near(path: Path) -> str:
    """A path as one would type it here."""
    return f"./{path.name}" if path.parent == Path(os.path.realpath(".")) else str(path)


def sections() -> frozenset[str]:
    """Return the first parts of the names that are settings, old ones included."""
    return frozenset(Settings.model_fields) | {path[0] for path in (*MOVED, *RETIRED)}


class _Own:
    """The files of the user's own folder. One that another user can have written is not used, and said so."""

    def __init__(self, paths: Paths, ignored: list[Ignored]) -> None:
        self._folder = paths.config
        self._ignored = ignored
        self.files: list[Path] = []
        self.exposed: list[Problem] = []

    def dotenv(self) -> Layer:
        path = self._folder / DOTENV_NAME
        text = self._text(path)
        return self._noted(path, sources.from_dotenv(str(path), text, sections())) if text else Layer()

    def toml(self, path: Path) -> Layer:
        text = self._text(path)
        if text is None:
            return Layer()
        self.files.append(path)
        return self._noted(path, _parse_toml(path, text))

    def _text(self, path: Path) -> str | None:
        try:
            found = read_own(path)
            return None if found is None else found.text
        except Refused as problem:
            self._ignored.append(Ignored(path, str(problem)))
            return None

    def _noted(self, path: Path, layer: Layer) -> Layer:
        self.exposed += _exposed(path, layer, path.stat().st_mode)
        return layer


def _exposed(path: Path, layer: Layer, mode: int) -> Iterator[Problem]:
    """The secrets of a file that other users can read."""
    if not mode & 0o077:
        return
    secrets = [
        ".".join(key) for key, value in values_of(layer).items() if holds_secret(key, value, secret=is_secret(key))
    ]
    if secrets:
        text = f"holds {', '.join(secrets)} and other users can read it; `chmod 600 {path}` ends that"
        yield Problem("", Origin("file", str(path)), text)


def is_secret(path: KeyPath) -> bool:
    """Return whether the setting is a credential by its type."""
    info = field_at(path)
    return info is not None and _is_secret(info)


def _read_toml(path: Path) -> Layer:
    try:
        return _parse_toml(path, path.read_text("utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([Problem("", Origin("file", str(path)), f"can't be read: {error}")]) from error


def _parse_toml(path: Path, text: str) -> Layer:
    try:
        return sources.from_toml(path, text)
    except ValueError as error:  # TOMLDecodeError, and a number of too many digits
        raise SettingsError([Problem("", Origin("file", str(path)), f"not valid TOML: {error}")]) from error
    except RecursionError as error:
        raise SettingsError([Problem("", Origin("file", str(path)), "not valid TOML: nested too deeply")]) from error


# --- files of the project folder ---


@dataclass(frozen=True, slots=True)
class ProjectFile:
    """A file of the project folder that was read. `layer` is in force; `waiting` is what it sets besides."""

    path: Path
    digest: str
    trusted: bool
    layer: Layer
    waiting: Layer

    @property
    def is_dotenv(self) -> bool:
        return self.path.name == DOTENV_NAME


@dataclass(slots=True)
class ProjectFiles:
    """What was found in the project folder, nearest first, and what of it is not used."""

    files: list[ProjectFile] = field(default_factory=list)
    ignored: list[Ignored] = field(default_factory=list)


def read_project(paths: Paths, environ: Mapping[str, str], cwd: Path, *, toml: bool = True) -> ProjectFiles:
    """Read the settings files of a folder and of its repository's root. Never raises for what stands in them, unless
    they are trusted (SettingsError).
    """
    store, trust_all = TrustStore(paths), trusts_folder(environ)
    found = ProjectFiles()
    for path, problem in _project_paths(paths, cwd, toml=toml):
        try:
            if problem and os.path.lexists(path):
                raise Refused(problem)
            content = None if problem else read_own(path, limit=PROJECT_LIMIT)
            if content is None:
                continue
            trusted = trust_all or store.trusts(path, content.digest)
            layer = _parsed(path, content.quick_text, trusted=trusted)
        except Refused as reason:
            found.ignored.append(Ignored(path, str(reason)))
            continue
        found.files.append(_split(path, content.digest, layer, found.ignored, trusted=trusted))
    return found


def _project_paths(paths: Paths, cwd: Path, *, toml: bool) -> Iterator[tuple[Path, str]]:
    """Each path that may be there, and why it would not count."""
    own = Path(os.path.realpath(paths.config))
    for number, (folder, problem) in enumerate(project_folders(cwd)):
        if folder == own:
            continue
        for name in TOML_NAMES if toml else ():
            yield folder / name, problem
        if number == 0:
            yield folder / DOTENV_NAME, problem


def _parsed(path: Path, text: str, *, trusted: bool) -> Layer:
    """Raises Refused for what can't be read, or SettingsError when it is trusted and so is meant to count."""
    if path.name == DOTENV_NAME:
        return sources.from_dotenv(path.name, text, sections())
    try:
        return _parse_toml(path, text)
    except SettingsError as error:
        if trusted:
            raise
        raise Refused(error.problems[0].text) from error


def _split(path: Path, digest: str, layer: Layer, ignored: list[Ignored], *, trusted: bool) -> ProjectFile:
    harmless, waiting = split(layer)
    if trusted:
        return ProjectFile(path, digest, True, sources.trusted(layer), Layer())
    bad = _bad_values(harmless)
    if bad:
        ignored.append(Ignored(path, "the value is not allowed", tuple(".".join(key) for key in bad)))
    if waiting.origins:
        ignored.append(Ignored(path, NOT_TRUSTED, tuple(".".join(key) for key in waiting.origins)))
    return ProjectFile(path, digest, False, without(harmless, bad), waiting)


def _bad_values(layer: Layer) -> set[KeyPath]:
    """The settings of a layer that can't be used: a file that is not trusted must not stop the program."""
    try:
        validate([layer], layer.origins)
    except SettingsError as error:
        wrong = [f"{problem.key}." for problem in error.problems]
        return {key for key in layer.origins if any(name.startswith(".".join(key) + ".") for name in wrong)}
    return set()


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
    text = redact_text(message.removeprefix("Value error, "))  # it may quote the value
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


def is_live(path: KeyPath) -> bool:
    """Return whether a change of the setting needs no restart."""
    info = field_at(path)
    return info is not None and isinstance(info.json_schema_extra, dict) and bool(info.json_schema_extra.get("live"))


def entries(settings: Settings, origins: Mapping[KeyPath, Origin], next_start: Settings | None = None) -> list[Entry]:
    """Every setting with its value, origin and what is allowed. Secrets are masked.

    `next_start` has the settings that a restart would bring, for `Entry.pending`.
    """
    return [_entry(path, info, settings, origins, next_start or settings) for path, info in leaves(Settings)]


def _value_at(settings: Settings, path: KeyPath) -> Any:
    value: Any = settings
    for part in path:
        value = value.get(part) if isinstance(value, dict) else getattr(value, part, None)
    return value


def _entry(
    path: KeyPath, info: FieldInfo, settings: Settings, origins: Mapping[KeyPath, Origin], next_start: Settings
) -> Entry:
    value, later = _value_at(settings, path), _value_at(next_start, path)
    origin = origins.get(path) or next((o for p, o in origins.items() if p[: len(path)] == path), DEFAULT)
    choices = [str(choice) for choice in get_args(info.annotation)] if _is_literal(info) else []
    if info.annotation is bool:
        choices = ["true", "false"]
    return Entry(
        key=".".join(path),
        value=show(masked_value(value, path[-1])),
        default=show(info.get_default(call_default_factory=True)),
        origin=str(origin),
        kind=_kind(info),
        allowed=_allowed(info, choices),
        live=is_live(path),
        secret=_is_secret(info),
        description=info.description or "",
        choices=choices,
        pending=None if later == value else show(masked_value(later, path[-1])),
    )


def show(value: Any) -> str:
    """A value as TOML would spell it, more or less; secrets as a mask."""
    value = masked_value(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ", ".join(_inner(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key}={_inner(item)}" for key, item in value.items())
    return str(value)


def _inner(value: Any) -> str:
    """A value inside of another one: lists and tables say where they end."""
    match value:
        case list():
            return f"[{show(value)}]"
        case dict():
            return f"{{{show(value)}}}"
    return show(value)


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
