"""Cooldowns are measured by a clock that never jumps."""

from __future__ import annotations

from pathlib import Path

import pytest

from ccproxy_tui.core.auth.account import Account
from ccproxy_tui.core.auth.json_file import JsonFile
from ccproxy_tui.core.auth.pool import Pool
from ccproxy_tui.core.auth.refusal import Refusal
from ccproxy_tui.core.auth.renewal import CopilotRenewal
from tests.core.auth.test_renewer import TokenEndpoint
from tests.fakes.clock import FakeClock

DAY = 86_400.0


@pytest.mark.parametrize("jump", [-DAY, 0.0, DAY])
async def test_a_jump_of_the_wall_clock_moves_no_cooldown(tmp_path: Path, clock: FakeClock, jump: float) -> None:
    file = JsonFile([tmp_path / "x"], tmp_path / "x", lambda _document, _source: pytest.fail("not read"), clock)
    account = Account("claude", "Claude", file, CopilotRenewal(TokenEndpoint(), str), clock, tmp_path, "")
    pool = Pool([account], clock)
    pool.note_refused(account, Refusal("too fast", 5.0))
    clock.wall += jump
    assert account.resting() == "cooling 5s (too fast)"
    clock.advance(5.1)
    assert (account.resting(), pool.rest_of(account, "any")) == ("", None)
