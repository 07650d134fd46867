"""Plan limits from headers, and when they will be full."""

from __future__ import annotations

from ccproxy_tui.core.auth.quota import (
    Quota,
    Reading,
    Window,
    read_claude_usage,
    read_codex_usage,
    read_copilot_usage,
    read_headers,
)

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
    assert read_headers(headers, NOW) == Reading((Window("5h", 0.415, NOW + 600), Window("7d", 0.12)))


def test_what_cannot_be_read_is_passed_over() -> None:
    odd = ["nan", "-1", "1e99", "", "x"]
    assert read_headers([("x-codex-primary-used-percent", value) for value in odd], NOW) == Reading()


def test_a_forecast_is_told_when_the_rate_fills_the_window_before_it_starts_anew() -> None:
    quota = Quota()
    quota.note(Reading((Window("5h", 0.2, NOW + 18_000),)), NOW)
    assert quota.windows(NOW)[0].fills is None
    quota.note(Reading((Window("5h", 0.4, NOW + 18_000),)), NOW + 1800)
    [window] = quota.windows(NOW + 1800)
    assert window.fills == NOW + 1800 + 5400 - (NOW + 7200) % 300
    quota.note(Reading((Window("5h", 0.41, NOW + 18_000),)), NOW + 17_000)
    assert quota.windows(NOW + 17_000)[0].fills is None


def test_a_window_that_has_started_anew_is_forgotten_until_it_is_heard_of() -> None:
    quota = Quota()
    quota.note(Reading((Window("5h", 0.9, NOW + 10),)), NOW)
    assert quota.windows(NOW + 11) == []
    quota.note(Reading((Window("5h", 0.01, NOW + 18_000),)), NOW + 12)
    assert quota.windows(NOW + 90)[0].fills is None


def test_extra_use_is_told_from_what_is_only_possible() -> None:
    prefix = "anthropic-ratelimit-unified"
    allowed = (f"{prefix}-overage-status", "allowed")
    assert read_headers([allowed], NOW).extra == "possible"
    assert read_headers([allowed, (f"{prefix}-representative-claim", "overage")], NOW).extra == "paid"
    assert read_headers([allowed, (f"{prefix}-status", "rejected")], NOW).extra == "paid"
    assert read_headers([(f"{prefix}-overage-status", "rejected")], NOW).extra == "off"
    assert read_headers([("x-codex-credits-has-credits", "True")], NOW).extra == "possible"
    assert read_headers([("content-type", "x")], NOW) == Reading()


def test_copilots_counts() -> None:
    value = "ent=300&ov=2.0&ovPerm=true&rem=25.0&rst=2027-01-15T08:00:00Z"
    reading = read_headers([("x-quota-snapshot-premium_interactions", value), ("x-quota-snapshot-chat", "ent=-1")], NOW)
    assert reading == Reading((Window("premium interactions", 0.75, NOW),), "paid")


def test_usage_documents() -> None:
    claude = {
        "five_hour": {"utilization": 37.0, "resets_at": "2027-01-15T08:00:00+00:00"},
        "seven_day_opus": {"utilization": 12, "resets_at": None},
        "seven_day": None,
        "extra_usage": {"is_enabled": True},
    }
    assert read_claude_usage(claude) == Reading((Window("5h", 0.37, NOW), Window("7d opus", 0.12)), "possible")
    codex = {
        "rate_limit": {
            "primary_window": {"used_percent": 4, "limit_window_seconds": 18_000, "reset_at": NOW},
            "secondary_window": None,
        },
        "credits": {"has_credits": False},
    }
    assert read_codex_usage(codex) == Reading((Window("5h", 0.04, NOW),), "off")
    copilot = {
        "quota_snapshots": {
            "premium_interactions": {"percent_remaining": 90, "overage_permitted": False},
            "chat": {"percent_remaining": 100, "unlimited": True},
        },
        "quota_reset_date": "2027-01-15",
    }
    [window] = read_copilot_usage(copilot).windows
    assert (window.name, round(window.used, 3)) == ("premium interactions", 0.1)
    for read in (read_claude_usage, read_codex_usage, read_copilot_usage):
        for odd in ({}, {"rate_limit": 5, "quota_snapshots": [], "five_hour": "x", "extra_usage": 1, "credits": ""}):
            assert read(odd).windows == ()


def test_whether_the_next_request_would_be_paid() -> None:
    quota = Quota()
    quota.note(Reading((Window("5h", 1.0, NOW + 60),), "possible"), NOW)
    assert (quota.pays(NOW), quota.full_until(NOW)) == (True, NOW + 60)
    assert quota.pays(NOW + 61) is False, "the window has started anew"
    quota.note(Reading((Window("5h", 1.0, NOW + 60),), "off"), NOW)
    assert quota.pays(NOW) is False
