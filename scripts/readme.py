"""Writes the settings table of the README from the settings model: `python -m scripts.readme`."""

from __future__ import annotations

from pathlib import Path

from ccproxy_tui.core.settings import entries
from ccproxy_tui.core.settings.models import Settings

START = "<!-- settings: made by scripts/readme.py -->"
END = "<!-- end of settings -->"
README = Path(__file__).parents[1] / "README.md"


def settings_table() -> str:
    """One row a setting: key, what is allowed, default, meaning."""
    rows = ["| Setting | Allowed | Default | Meaning |", "| --- | --- | --- | --- |"]
    for entry in entries(Settings.model_construct(**{n: f.default for n, f in Settings.model_fields.items()}), {}):
        allowed = (entry.allowed or entry.kind).replace("|", "\\|")
        default = f"`{entry.default}`" if entry.default else ""
        meaning = entry.description.replace("|", "\\|")
        rows.append(f"| `{entry.key}` | {allowed} | {default} | {meaning} |")
    return "\n".join(rows)


def main() -> None:
    text = README.read_text("utf-8")
    before, rest = text.split(START, 1)
    after = rest.split(END, 1)[1]
    README.write_text(f"{before}{START}\n{settings_table()}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
