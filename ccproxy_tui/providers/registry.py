"""Finds providers by entry point and builds them. A third party's provider loads the same way as ours."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points

from ccproxy_tui.core.errors import ProxyError
from ccproxy_tui.core.provider import Provider
from ccproxy_tui.core.settings import Settings
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.paths import Paths

log = logging.getLogger(__name__)

GROUP = "ccproxy_tui.providers"


@dataclass(frozen=True, slots=True)
class Context:
    """What a provider is built from. `settings` is a call, because settings may change while the proxy runs."""

    settings: Callable[[], Settings]
    clock: Clock
    paths: Paths
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)


def load_providers(context: Context) -> list[Provider]:
    """Every enabled provider; an entry point makes one, or a list of them.

    One that fails to load is said in the log and left out; the others serve.
    """
    providers: list[Provider] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        section = getattr(context.settings().providers, point.name, None)
        if section is not None and not getattr(section, "enabled", True):
            continue
        try:
            made = point.load()(context)
            providers += [_checked(one) for one in (made if isinstance(made, list) else [made])]
        except ProxyError as error:
            log.error("provider %s could not be loaded: %s", point.name, error.text)
        except Exception:  # code of others runs here: it may raise anything, and must not stop the proxy
            log.exception("provider %s could not be loaded", point.name)
    return providers


def _checked(provider: Provider) -> Provider:
    """Raises ProxyError for one that is of neither kind."""
    if hasattr(provider, "prepare") or hasattr(provider, "run"):
        return provider
    raise ProxyError("it has neither `prepare` nor `run` (see ccproxy_tui.core.provider)")
