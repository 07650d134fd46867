"""`python -m ccproxy_tui` and the `ccproxy-tui` command."""

from __future__ import annotations

import sys


def _forget_folder() -> None:
    """`python -m` looks for modules in the folder where it is started first: none of a project's may stand for ours."""
    import os

    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH120, PTH100 - before pathlib
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()) and os.getcwd() != package:  # noqa: PTH109
        del sys.path[0]


def main() -> None:
    if sys.argv[1:2] == ["hook"] and len(sys.argv) == 3 and not sys.argv[2].startswith("-"):
        from ccproxy_tui.hook import SOURCES, run_hook

        if sys.argv[2] in SOURCES:  # at once: tools wait for it
            run_hook(sys.argv[2])
            return
    from ccproxy_tui.cli import cli

    cli()


if __name__ == "__main__":
    _forget_folder()
    main()
