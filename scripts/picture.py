"""Makes the README's picture from the app itself: `python -m scripts.picture` runs the demo and exports its screen."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PICTURE = Path(__file__).parents[1] / "docs" / "streams.svg"
SIZE = (110, 30)
PORT = "18765"
SECONDS = 14


def start_demo(home: str) -> subprocess.Popen[bytes]:
    """The demo as plain lines: its proxy and its scripted clients run without a terminal."""
    program = Path(sys.executable).with_name("ccproxy-tui")
    environ = {"HOME": home, "PATH": os.environ["PATH"], "XDG_RUNTIME_DIR": home, "SERVER__PORT": PORT}
    return subprocess.Popen([program, "demo", "--plain"], env=environ, stdout=subprocess.DEVNULL)


async def take_picture(home: str) -> str:
    os.environ.update({"HOME": home, "XDG_RUNTIME_DIR": home, "UI__THEME": "dark", "COLORTERM": "truecolor"})
    from ccproxy_tui.app import CCProxyApp
    from ccproxy_tui.cli.attach import find_socket
    from ccproxy_tui.cli.host import connect
    from ccproxy_tui.core.settings import load
    from ccproxy_tui.core.settings.live import LiveSettings
    from ccproxy_tui.core.system.clock import SystemClock
    from ccproxy_tui.core.system.paths import Paths
    from ccproxy_tui.screens.ui.session import Attached

    paths = Paths.of_user()
    source = Attached(find_socket(PORT, paths), connect)
    app = CCProxyApp(source, LiveSettings(load()), SystemClock(), paths, is_demo=True, remember=False)
    async with app.run_test(size=SIZE) as pilot:
        await asyncio.sleep(4)
        await pilot.press("escape", "j", "k")
        await asyncio.sleep(2)
        return app.export_screenshot(title="ccproxy-tui")


def without_links(svg: str) -> str:
    """No font is loaded from elsewhere: the viewer's own monospace does."""
    return re.sub(r"@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        demo = start_demo(home)
        try:
            time.sleep(SECONDS - 8)
            PICTURE.write_text(without_links(asyncio.run(take_picture(home))), "utf-8")
        finally:
            demo.terminate()
            demo.wait(10)


if __name__ == "__main__":
    main()
