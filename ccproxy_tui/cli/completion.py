"""Installs shell completion where each shell looks for it."""

from __future__ import annotations

import os
from pathlib import Path


def install(shell: str, source: str) -> str:
    """Write the completion script and say what is left to do. Running it twice changes nothing more."""
    home = Path.home()
    data = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
    if shell == "fish":
        return _write(config / "fish" / "completions" / "ccproxy-tui.fish", source, "Open a new shell to use it.")
    if shell == "bash":
        path = data / "bash-completion" / "completions" / "ccproxy-tui"
        return _write(path, source, "Open a new shell to use it (needs the bash-completion package).")
    path = data / "zsh" / "site-functions" / "_ccproxy-tui"
    return _write(
        path,
        source,
        f"Put `fpath=({path.parent} $fpath)` before `compinit` in your .zshrc, then open a new shell.",
    )


def _write(path: Path, source: str, next_step: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, "utf-8")
    return f"Wrote {path}. {next_step}"
