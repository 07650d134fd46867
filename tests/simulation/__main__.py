"""Run seeds by hand: `python -m tests.simulation --seeds 100000 --jobs 2`, or one with its trace: `--seed 17`."""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import sys
import time

from tests.simulation.world import Run, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one and print its trace")
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    if given.seed is not None:
        one = run(given.seed)
        print(one)
        return bool(one.broken)
    began, broken, excused = time.perf_counter(), 0, collections.Counter[str]()
    with multiprocessing.Pool(given.jobs) as pool:
        for one in pool.imap_unordered(_run, range(given.first, given.first + given.seeds), chunksize=20):
            excused.update(one.excused)
            if one.broken:
                broken += 1
                print(f"seed {one.seed}: {one.broken}", flush=True)
    seconds = time.perf_counter() - began
    print(f"{given.seeds} seeds in {seconds:.0f} s, {broken} broken")
    for excuse, times in excused.most_common():
        print(f"{times:7} logins had an excuse: {excuse}")
    return bool(broken)


def _run(seed: int) -> Run:
    one = run(seed)
    one.trace.clear()
    return one


if __name__ == "__main__":
    sys.exit(main())
