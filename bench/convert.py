"""How fast streams and requests are converted, on one core, in one process.

    python -m bench.convert [--events 40000] [--json FILE]

For each direction: events a second when each event is fed alone (as live streams come) and in 16 KB reads (as fast ones
do), the time from the first upstream event to the first byte for the client, and the time for a request of 5 MB.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from ccproxy_tui.core.formats import FORMATS, Conversion, Format, Profile, convert_request
from tests.fakes.streams import chat_events, message_events, response_events, said

PROFILES: dict[Format, Profile] = {
    "anthropic_messages": Profile("anthropic_messages", "anthropic", thinking="budget"),
    "openai_chat": Profile("openai_chat", "copilot"),
    "openai_responses": Profile("openai_responses", "openai"),
}
READ = 16 * 1024


def request_body(dialect: Format, turns: list[tuple[str, str]]) -> bytes:
    """A request with a history of (role, text)."""
    messages = [{"role": role, "content": text} for role, text in turns]
    body: dict[str, Any] = {"model": "m", "stream": True}
    if dialect == "openai_responses":
        body["input"] = messages
    else:
        body |= {"messages": messages, "max_tokens": 100}
    return json.dumps(body).encode()


def stream_of(dialect: Format, words: int) -> list[bytes]:
    text = "word" * words
    match dialect:
        case "anthropic_messages":
            return message_events({"type": "text", "text": text})
        case "openai_chat":
            return chat_events(text)
        case "openai_responses":
            return response_events(said(text))


def best(work: Callable[[], None], rounds: int = 5) -> float:
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def conversion(source: Format, target: Format) -> Conversion:
    return convert_request(request_body(source, [("user", "hi")]), source, PROFILES[target], model="m", created=1)


def measure(source: Format, target: Format, events: list[bytes]) -> dict[str, float]:
    made = conversion(source, target)
    joined = b"".join(events)
    reads = [joined[at : at + READ] for at in range(0, len(joined), READ)]

    def feed(pieces: list[bytes]) -> None:
        stream = made.stream()
        for piece in pieces:
            stream.feed(piece)

    history = [("user" if turn % 2 == 0 else "assistant", "lorem ipsum " * 85) for turn in range(5000)]
    big = request_body(source, history)
    first = []
    for _ in range(200):
        stream = made.stream()
        start = time.perf_counter()
        stream.feed(events[0])
        first.append(time.perf_counter() - start)

    def convert() -> None:
        convert_request(big, source, PROFILES[target], model="m", created=1)

    return {
        "one by one": len(events) / best(lambda: feed(events)),
        "16 KB reads": len(events) / best(lambda: feed(reads)),
        "first event ms": statistics.median(first) * 1000,
        "5 MB request ms": best(convert, 3) * 1000 * 5_000_000 / len(big),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()
    results: dict[str, dict[str, float]] = {}
    print(f"{'upstream -> client':<40} {'one by one':>12} {'16 KB reads':>12} {'first event':>12} {'5 MB request':>13}")
    for target in FORMATS:
        events = stream_of(target, options.events)
        for source in FORMATS:
            if source == target:
                continue
            figures = results[f"{target} -> {source}"] = measure(source, target, events)
            print(
                f"{target + ' -> ' + source:<40} {figures['one by one']:>10,.0f}/s {figures['16 KB reads']:>10,.0f}/s "
                f"{figures['first event ms']:>9.3f} ms {figures['5 MB request ms']:>10.1f} ms"
            )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    main()
