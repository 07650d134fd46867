"""Names of settings as the two older programs spelled them, and where they live here."""

from __future__ import annotations

Path = tuple[str, ...]

# Old place -> place here.
MOVED: dict[Path, Path] = {
    ("server", "log_level"): ("logging", "level"),
    ("server", "log_format"): ("logging", "format"),
    ("server", "log_file"): ("logging", "file"),
    ("plugins", "claude_api"): ("providers", "claude_api"),
    ("plugins", "claude_sdk", "enabled"): ("providers", "claude_sdk", "enabled"),
    ("plugins", "claude_sdk"): ("claude",),
    ("claude", "pool_enabled"): ("claude", "sdk_pool", "enabled"),
    ("claude", "pool_size"): ("claude", "sdk_pool", "size"),
    ("claude", "sdk_pool_size"): ("claude", "sdk_pool", "size"),
    ("plugins", "codex"): ("providers", "codex"),
    ("plugins", "copilot"): ("providers", "copilot"),
    ("codex", "base_url"): ("providers", "codex", "base_url"),
    ("codex", "enabled"): ("providers", "codex", "enabled"),
    ("codex", "oauth"): ("providers", "codex", "oauth"),
    ("security", "confirmation_timeout_seconds"): ("permissions", "timeout_seconds"),
    ("claude", "system_prompt_injection_mode"): ("providers", "claude_api", "system_prompt_injection_mode"),
}

# Old names that are accepted and do nothing, each with the reason. A prefix covers everything below it.
RETIRED: dict[Path, str] = {
    ("server", "reload"): "there is no development reloader",
    ("server", "workers"): "the proxy is one process by design",
    ("claude", "sdk_session_pool", "enabled"): "sessions always have a process of their own",
    ("claude", "sdk_session_pool", "connection_recovery"): "a session that lost its process is taken up again",
    ("claude", "code_options", "continue_conversation"): "a session resumes exactly its own conversation",
    ("server", "log_show_path"): "log lines have one form",
    ("server", "log_show_time"): "log lines have one form",
    ("server", "log_console_width"): "log lines have one form",
    ("server", "use_terminal_permission_handler"): "the screens answer permission requests themselves",
    ("docker",): "containers are started by your own tools",
    ("reverse_proxy",): "set providers.claude_api.base_url instead",
    ("enable_plugins",): "providers are switched one by one: providers.<name>.enabled",
    ("enabled_plugins",): "providers are switched one by one: providers.<name>.enabled",
    ("disabled_plugins",): "providers are switched one by one: providers.<name>.enabled",
    ("plugin_discovery",): "plugins are found by entry point",
    ("plugins_disable_local_discovery",): "plugins are found by entry point",
    ("logging", "verbose_api"): "the inspector shows every request",
    ("logging", "request_log_dir"): "the inspector shows every request",
    ("logging", "plugin_log_base_dir"): "the inspector shows every request",
    ("http", "compression_enabled"): "streams are relayed as they come",
    ("http", "accept_encoding"): "streams are relayed as they come",
}


def modern(path: Path) -> Path:
    """The place of `path` in today's settings (itself when it never moved)."""
    for length in range(len(path), 0, -1):
        if (target := MOVED.get(path[:length])) is not None:
            return target + path[length:]
    return path


def retired(path: Path) -> str | None:
    """Why `path` does nothing here, or None when it is not an old name."""
    for length in range(len(path), 0, -1):
        if (reason := RETIRED.get(path[:length])) is not None:
            return reason
    return None
