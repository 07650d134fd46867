"""The four looks: dark, light, ansi (the terminal's own sixteen colours) and mono (none at all)."""

from __future__ import annotations

from dataclasses import replace

from textual.theme import BUILTIN_THEMES, Theme

DARK = Theme(
    name="dark",
    primary="#7aa2f7",
    secondary="#9aa5ce",
    accent="#7dcfff",
    warning="#e0af68",
    error="#f7768e",
    success="#9ece6a",
    foreground="#d5d9e6",
    background="#14161f",
    surface="#14161f",
    panel="#20232f",
    variables={
        "border": "#3b4261",
        "block-cursor-background": "#33467c",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "none",
        "footer-key-foreground": "#7dcfff",
        "added-ground": "#1a2a20",
        "removed-ground": "#33202a",
    },
)
LIGHT = Theme(
    name="light",
    primary="#2456a8",
    secondary="#5a6270",
    accent="#0b6e83",
    warning="#8a5a00",
    error="#b3261e",
    success="#2f6b1f",
    foreground="#1f2328",
    background="#fbfbf8",
    surface="#fbfbf8",
    panel="#e9e9e2",
    dark=False,
    variables={
        "border": "#b8b8b0",
        "block-cursor-background": "#c9dcf7",
        "block-cursor-foreground": "#000000",
        "block-cursor-text-style": "none",
        "added-ground": "#e2f2dc",
        "removed-ground": "#fae3df",
    },
)
_PLAIN = "ansi_default"
_NO_GROUND = {"added-ground": _PLAIN, "removed-ground": _PLAIN}
_BASE = BUILTIN_THEMES["ansi-dark"]
ANSI = replace(
    _BASE,
    name="ansi",
    accent="ansi_cyan",
    variables={
        **_BASE.variables,
        "block-cursor-text-style": "none",
        "surface-lighten-1": "ansi_bright_black",
        "border": "ansi_bright_black",
        "text-muted": "ansi_bright_black",
        "text-success": "ansi_green",
        "text-warning": "ansi_yellow",
        "text-error": "ansi_red",
        "text-accent": "ansi_cyan",
        "text-primary": "ansi_blue",
        **_NO_GROUND,
    },
)
MONO = replace(
    _BASE,
    name="mono",
    primary=_PLAIN,
    secondary=_PLAIN,
    accent=_PLAIN,
    warning=_PLAIN,
    error=_PLAIN,
    success=_PLAIN,
    variables={
        **dict.fromkeys(_BASE.variables, _PLAIN),
        "input-cursor-text-style": "reverse",
        "block-cursor-text-style": "reverse",
        "surface-lighten-1": _PLAIN,
        "border": _PLAIN,
        **_NO_GROUND,
        **dict.fromkeys(
            ("text-muted", "text-success", "text-warning", "text-error", "text-accent", "text-primary"), _PLAIN
        ),
    },
)
THEMES = (DARK, LIGHT, ANSI, MONO)
