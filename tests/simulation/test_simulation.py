"""Two thousand seeds, those that once failed, and the faults that the simulation must find."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.faults import FAULTS
from tests.simulation.world import run

pytestmark = pytest.mark.timeout(300)  # seconds for a part of the seeds, also on a busy machine

_SEEDS = 2000
_CHUNK = 50
_WITHIN = 600  # seeds in which every fault is found
_KEPT = [
    int(line.partition("#")[0])
    for line in Path(__file__).with_name("seeds.txt").read_text("utf-8").splitlines()
    if line.partition("#")[0].strip()
]


@pytest.mark.parametrize("first", range(0, _SEEDS, _CHUNK))
def test_every_rule_holds(first: int) -> None:
    for seed in range(first, first + _CHUNK):
        one = run(seed)
        assert not one.broken, f"\n{one}"


@pytest.mark.parametrize("seed", _KEPT)
def test_a_seed_that_once_failed_holds(seed: int) -> None:
    one = run(seed)
    assert not one.broken, f"\n{one}"


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_runs_the_same_again(seed: int) -> None:
    assert str(run(seed)) == str(run(seed))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_is_found(fault: Callable[[], AbstractContextManager[Any]]) -> None:
    assert any(run(seed, fault).broken for seed in range(_WITHIN))


def test_a_failing_seed_says_what_happened() -> None:
    found = next(one for seed in range(_WITHIN) if (one := run(seed, FAULTS[0])).broken)
    assert str(found).startswith(f"seed {found.seed}: {found.broken}\n")
    assert found.broken in str(found.trace[-3:])
