"""Settings that widen what others can do, or that change where credentials go. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import urlsplit

from ccproxy_tui.core.probes.finding import Finding
from ccproxy_tui.core.settings import Loaded, leaves
from ccproxy_tui.core.settings.models import Settings
from ccproxy_tui.core.settings.sources import KeyPath

_ADDRESSES = ("base_url", "api_base_url", "authorize_url", "token_url", "device_url", "copilot_token_url", "user_url")


def probe_settings(loaded: Loaded) -> list[Finding]:
    """Return what stands out in the settings in force."""
    settings = loaded.settings
    found = [
        *_project(loaded),
        *_addresses(loaded),
        *_paths(settings),
        *_compatible(settings),
        *_transport(settings),
        *_listening(settings),
        *_browsers(settings),
        *_agents(settings),
        *_deciders(settings),
        *_rules(settings),
    ]
    return found or [Finding("ok", "No setting widens the defaults.")]


def _project(loaded: Loaded) -> Iterator[Finding]:
    """What comes from the folder that this was started in."""
    for ignored in loaded.ignored:
        yield Finding("ok", str(ignored))
    for path, origin in loaded.from_project.items():
        text = f"{'.'.join(path)} comes from a project file that you trusted ({origin})."
        yield Finding("note", text, "ccproxy-tui trust --revoke")


def _paths(settings: Settings) -> Iterator[Finding]:
    providers = settings.providers
    named = {"claude_api": providers.claude_api, "codex": providers.codex, "copilot": providers.copilot}
    paths = {name: provider.extra_paths for name, provider in named.items()}
    paths |= {f"compatible.{name}": server.extra_paths for name, server in providers.compatible.items()}
    for name, extra in paths.items():
        if extra:
            opened = ", ".join(extra)
            yield Finding("note", f"providers.{name}.extra_paths opens {opened} of the account to every client.")


def _addresses(loaded: Loaded) -> Iterator[Finding]:
    for path, info in leaves(Settings):
        if path[-1] not in _ADDRESSES:
            continue
        url = str(_value(loaded.settings, path))
        if url == info.get_default(call_default_factory=True):
            continue
        key = ".".join(path)
        origin = loaded.origins.get(path, "default")
        if not _is_private(url):
            yield Finding(
                "open", f"{key} ({origin}) sends a login without TLS to {_host(url)}.", f"Use https in {key}."
            )
        else:
            yield Finding("note", f"{key} ({origin}) is not the vendor's address: {_host(url)}.")


def _compatible(settings: Settings) -> Iterator[Finding]:
    for name, server in settings.providers.compatible.items():
        keyed = server.api_key is not None or server.key_env or server.key_ring
        if keyed and not _is_private(server.base_url):
            text = f"providers.compatible.{name} sends its key without TLS to {_host(server.base_url)}."
            yield Finding("open", text, "Use an https base_url.")


def _transport(settings: Settings) -> Iterator[Finding]:
    http = settings.http
    if not http.ssl_verify:
        yield Finding(
            "open", "http.ssl_verify is off: any host on the path can read your logins.", "Remove it, or set ca_bundle."
        )
    if http.proxy:
        yield Finding("note", f"Upstream traffic goes through the proxy {_host(http.proxy)}.")
    if http.ca_bundle is not None:
        yield Finding("note", f"Upstream certificates are checked against {http.ca_bundle}.")


def _listening(settings: Settings) -> Iterator[Finding]:
    host = settings.server.host
    if host != "localhost" and not _is_loopback(host):
        yield Finding(
            "note", f"The proxy listens on {host}: its token is all that guards your accounts.", "Use a long token."
        )
    token = settings.security.auth_token
    if token is not None and len(token.get_secret_value()) < 20:
        yield Finding("open", "security.auth_token is short enough to be guessed.", "ccproxy-tui generate-token --save")
    for name in settings.security.allowed_hosts:
        if "." not in name:
            text = f"security.allowed_hosts has {name!r}: a page from the host of that name can reach you."
            yield Finding("note", text, "Use a name with a domain of yours.")


def _browsers(settings: Settings) -> Iterator[Finding]:
    cors = settings.cors
    if cors.origin_regex in (".*", "^.*$", ".+", "https?://.*"):
        yield Finding("open", "Any web page may call the proxy (cors.origin_regex).", "Name them in cors.origins.")
    elif cors.origins or cors.origin_regex:
        named = ", ".join([*cors.origins, *([cors.origin_regex] if cors.origin_regex else [])])
        yield Finding("note", f"Web pages of {named} may call the proxy.")


def _agents(settings: Settings) -> Iterator[Finding]:
    options = settings.claude.code_options
    if options.permission_mode == "bypassPermissions":
        yield Finding(
            "open", "Agents of SDK mode run every tool without asking.", "Remove claude.code_options.permission_mode."
        )
    if options.allowed_tools:
        tools = ", ".join(options.allowed_tools)
        yield Finding("note", f"Agents of SDK mode use these tools without asking: {tools}.")
    if settings.claude.request_cwd:
        yield Finding("note", "A request may choose the folder of its agent (claude.request_cwd).")
    if not settings.claude.builtin_permissions:
        yield Finding("note", "Agents of SDK mode do not ask here: what would need a decision is denied.")


def _deciders(settings: Settings) -> Iterator[Finding]:
    if settings.permissions.deciders == "any":
        text = "Any program of yours may decide permission requests, agents included."
        yield Finding("open", text, "Remove permissions.deciders.")
    elif settings.permissions.deciders != "terminal":
        yield Finding("note", "Programs of yours without a terminal may decide permission requests.")


def _rules(settings: Settings) -> Iterator[Finding]:
    for rule in settings.permissions.rules:
        if rule.action == "allow" and "(" not in rule.rule and not rule.project:
            text = f"The rule {rule.rule} allows every use of that tool, everywhere, that is not high risk."
            yield Finding("note", text, "Name what it may do, such as Bash(git diff:*), or a project.")


def _value(settings: Settings, path: KeyPath) -> object:
    value: object = settings
    for part in path:
        value = getattr(value, part)
    return value


def _host(url: str) -> str:
    """The host and port of a URL, without user or password."""
    return urlsplit(url).netloc.rpartition("@")[2] or url


def _is_private(url: str) -> bool:
    """Return whether no other host can read what is sent: TLS, or this machine."""
    parts = urlsplit(url)
    return parts.scheme != "http" or _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
