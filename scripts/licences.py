"""Writes docs/licences.md from the bill of materials: `python scripts/licences.py`. The standard library is enough."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SBOM = ROOT / "sbom.cdx.json"
PAGE = ROOT / "docs" / "licences.md"


def licence_of(component: dict[str, Any]) -> str:
    """Return an SPDX expression or id where the package declares one, else its classifier."""
    given = component.get("licenses", [])
    ids = [item["expression"] if "expression" in item else item["license"].get("id", "") for item in given]
    names = [item["license"].get("name", "") for item in given if "license" in item]
    found = next((name for name in ids if name), "") or next((name for name in names if name), "not declared")
    return found.rpartition(":: ")[2]


def page() -> str:
    """Return the text of docs/licences.md."""
    components = json.loads(SBOM.read_text("utf-8"))["components"]
    rows = [f"| {one['name']} | {one['version']} | {licence_of(one)} |" for one in components]
    return "\n".join(
        [
            "# Licences of the dependencies",
            "",
            "ccproxy-tui itself is under the MIT licence. These are the packages that it installs, with all extras,",
            "in the versions of `locks/runtime.txt` on Linux. `make lock` writes this page and `sbom.cdx.json`",
            "(CycloneDX), which every wheel carries in `.dist-info/sboms/`.",
            "",
            "| Package | Version | Licence |",
            "| --- | --- | --- |",
            *sorted(rows, key=str.lower),
            "",
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
