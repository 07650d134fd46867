"""`python -m ccproxy_tui` and the `ccproxy-tui` command."""

from __future__ import annotations


def main() -> None:
    from ccproxy_tui.cli import cli

    cli()


if __name__ == "__main__":
    main()
