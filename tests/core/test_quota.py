"""Plan limits from headers, and when they will be full."""

from __future__ import annotations

from ccproxy_tui.core.auth.quota import Quota, Window, read_windows

NOW = 1_800_000_000.0


def test_chatgpts_windows_have_the_length_as_their_name() -> None:
    headers = [
        ("x-codex-primary-used-percent", "41.5"),
        ("x-codex-primary-window-minutes", "300"),
        ("x-codex-primary-reset-after-seconds", "600"),
        ("x-codex-secondary-used-percent", "12"),
        ("x-codex-secondary-window-minutes", "10080"),
        ("x-codex-credits-balance", "5"),
    ]
    assert read_windows(headers, NOW) == [Window("5h", 0.415, NOW + 600), Window("7d", 0.12)]


def test_what_cannot_be_read_is_passed_over() -> None:
    odd = ["nan", "-1", "1e99", "", "x"]
    assert read_windows([("x-codex-primary-used-percent", value) for value in odd], NOW) == []


def test_a_forecast_is_told_when_the_rate_fills_the_window_before_it_starts_anew() -> None:
    quota = Quota()
    quota.note([Window("5h", 0.2, NOW + 18_000)], NOW)
    assert quota.windows(NOW)[0].fills is None
    quota.note([Window("5h", 0.4, NOW + 18_000)], NOW + 1800)
    [window] = quota.windows(NOW + 1800)
    assert window.fills == NOW + 1800 + 5400 - (NOW + 7200) % 300
    quota.note([Window("5h", 0.41, NOW + 18_000)], NOW + 17_000)
    assert quota.windows(NOW + 17_000)[0].fills is None


def test_a_window_that_has_started_anew_is_forgotten_until_it_is_heard_of() -> None:
    quota = Quota()
    quota.note([Window("5h", 0.9, NOW + 10)], NOW)
    assert quota.windows(NOW + 11) == []
    quota.note([Window("5h", 0.01, NOW + 18_000)], NOW + 12)
    assert quota.windows(NOW + 90)[0].fills is None
