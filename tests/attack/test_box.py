"""The box itself: an attack that could not succeed proves nothing."""

from __future__ import annotations

import httpx
import pytest

from tests.attack.box import Loot, as_nobody
from tests.attack.conftest import StartServe

pytestmark = pytest.mark.attack


def test_the_collector_keeps_what_it_is_sent(loot: Loot) -> None:
    httpx.post(loot.url, headers={"authorization": "Bearer abc"}, content=b"body", trust_env=False)
    assert "Bearer abc" in loot.text
    assert "body" in loot.text


def test_the_second_user_is_another_one_and_reaches_the_port(serve: StartServe, second_user: None) -> None:
    served = serve()
    printed = as_nobody(f"print(os.getuid()); print(request({served.port}, 'GET', '/health/live')[0])")
    assert printed.split() == ["65534", "200"]
