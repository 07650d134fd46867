"""The models of the Codex backend with their limits: asked of it with the login, else known from the Codex CLI."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from ccproxy_tui.core.control.frames import ModelLimits
from ccproxy_tui.core.detection import Detected
from ccproxy_tui.core.detection.catalog import read_catalog
from ccproxy_tui.core.formats.body import read_object

CONTEXT = 200_000  # tokens; what is assumed of a model that nobody tells of
NAMES = ("gpt-5.4", "gpt-5.3-codex", "gpt-5.2-codex")  # when nobody tells of any


class ModelList(NamedTuple):
    """`source` says where it is from; `fetched` is when, in seconds since the epoch."""

    models: list[ModelLimits]
    source: str
    fetched: float | None = None


def read_cache(folder: Path) -> ModelList | None:
    """What the CLI has fetched with its login, if it has: `models_cache.json` beside it."""
    path = folder / "models_cache.json"
    try:
        models = read_catalog(read_object(path.read_bytes()))
        fetched = path.stat().st_mtime
    except OSError:
        return None
    return ModelList(models, "the Codex CLI's cache", fetched) if models else None


def of_tool(detected: Detected | None) -> ModelList | None:
    """What the installed CLI knows by itself."""
    if detected is None or not detected.models:
        return None
    return ModelList(detected.models, f"Codex CLI {detected.version}", detected.captured)


def built_in() -> ModelList:
    return ModelList([ModelLimits(name) for name in NAMES], "built in")


def with_defaults(found: ModelList, output: int) -> ModelList:
    """Careful figures where a list tells none."""
    return found._replace(models=list(_complete(found.models, output)))


def _complete(models: Iterable[ModelLimits], output: int) -> Iterable[ModelLimits]:
    for one in models:
        yield msgspec.structs.replace(one, context=one.context or CONTEXT, output=one.output or output)
