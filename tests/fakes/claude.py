"""A Claude Code of a few lines that speaks its protocol on standard input and output, and misbehaves when asked to.

The words of a question say how: `die`, `hang`, `flood`, `strange`, `stubborn` (takes no interrupt), `child` (leaves a
process of its own group). `start-...` in the file `mood` beside it is for its start.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

_SOURCE = r"""#!{python}
import json, os, signal, subprocess, sys, time
from pathlib import Path

mood = Path(__file__).with_name("mood")
mood = mood.read_text() if mood.exists() else ""
if "--version" in sys.argv:
    print("1.0.3 (Claude Code)" if mood == "start-old" else "2.1.400 (Claude Code)")
    sys.exit()
if mood == "start-die":
    sys.exit("error: cannot find the moon sk-ant-REDACTME-0123456789")
if mood == "start-hang":
    time.sleep(600)
if "ignore-term" in mood:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def event(**values):
    say(type="stream_event", event=values, parent_tool_use_id=None)


def result(**more):
    say(**{{"type": "result", "subtype": "success", "is_error": False, "num_turns": 1, "session_id": "s",
           "duration_ms": 1, "duration_api_ms": 1, "total_cost_usd": 0.5, "result": "", "usage": {{"output_tokens": 3}},
           **more}})


def start():
    event(type="message_start", message={{"id": "msg_1", "model": "m", "usage": {{"input_tokens": 2}}}})
    event(type="content_block_start", index=0, content_block={{"type": "text", "text": ""}})
    event(type="content_block_delta", index=0, delta={{"type": "text_delta", "text": "first "}})


def answer(text):
    if "die" in text:
        start()
        sys.exit("error: the moon is gone")
    if "flood" in text:
        sys.stderr.write("x" * 3_000_000)
        sys.stderr.flush()
    if "strange" in text:
        sys.stdout.write("[SandboxDebug] not JSON\n[1]\n" + "{{" + "\n")
        say(type="from_the_future", data=[1])
        say(type="stream_event", event={{"type": "content_block_delta", "index": 99, "delta": {{"type": "x"}}}})
        say(type="assistant", message={{"content": "odd"}})
    if "endless" in text:
        start()
        while True:
            sys.stdout.write("x" * 65536)
    if "heavy" in text:
        sys.stdout.write('{{"type": "system", "x": [' + "[]," * 4_000_000 + "0]}}\n")
    if "twice" in text:
        sys.stdout.write('{{"type": "control_request", "request_id": "r", "request": {{"subtype": "can_use_tool", '
                         '"tool_name": "Bash", "input": {{"command": "rm -rf /", "command": "ls"}}}}}}\n')
    if "child" in text:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        Path(__file__).with_name("child").write_text(str(child.pid))
    start()
    if "hang" in text or "stubborn" in text:
        return
    event(type="content_block_stop", index=0)
    event(type="message_delta", delta={{"stop_reason": "end_turn"}}, usage={{"output_tokens": 3}})
    event(type="message_stop")
    result()
    if "chatter" in text:
        for number in range(200):
            say(type="system", subtype="chatter", text="x" * 1_000_000)
            Path(__file__).with_name("said").write_text(str(number + 1))


stubborn = False
for line in sys.stdin:
    message = json.loads(line)
    if message["type"] == "control_request":
        if message["request"]["subtype"] == "interrupt":
            if stubborn:
                continue
        reply = {{"subtype": "success", "request_id": message["request_id"], "response": {{"commands": []}}}}
        say(type="control_response", response=reply)
        if message["request"]["subtype"] == "interrupt":
            result(subtype="error_during_execution", is_error=True)
        continue
    content = message["message"]["content"]
    text = content if isinstance(content, str) else " ".join(block.get("text", "") for block in content)
    with Path(__file__).with_name("heard").open("a") as heard:
        heard.write(text + "\n")
    if message["type"] == "user":
        if message.get("shouldQuery") is False:
            if mood != "mute-history":
                result(num_turns=0)
            continue
        stubborn = "stubborn" in text
        answer(text)
if "ignore-term" in mood:
    time.sleep(600)
"""


def write_claude(folder: Path, mood: str = "") -> Path:
    """The program. Its mood can be changed later by the file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "claude"
    path.write_text(_SOURCE.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    (folder / "mood").write_text(mood)
    return path


def lives(pid: int) -> bool:
    """Whether a process still runs (a dead one that nobody has waited for does not)."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
