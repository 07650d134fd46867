"""How each tool is made to send one request to a server of ours, and what is read out of it. Observed, October 2026."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ccproxy_tui.core.detection.capture import CaptureFailed, Request
from ccproxy_tui.core.detection.record import Detected, Shape
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.text.redact import is_secret_header, redact_text

_KEY = "capture-only"
_VERSION = re.compile(rb"\d+\.\d+\.\d+[A-Za-z0-9.+-]*")
# Of one connection, or of one conversation: they tell nothing of the tool.
_PASSING = frozenset({"host", "content-length", "connection", "accept-encoding", "transfer-encoding", "expect"})
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_ATTRIBUTION = "x-anthropic-billing-header"  # belongs to the vendor's own client: never kept, never sent for another

CODEX_REPLY = (
    b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1","status":"in_progress",'
    b'"output":[]}}\n\n'
    b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"resp_1","status":"completed",'
    b'"output":[],"usage":{"input_tokens":0,"output_tokens":0,"total_tokens":0}}}\n\n'
)
CLAUDE_REPLY = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant",'
    b'"model":"claude","content":[],"stop_reason":null,"usage":{"input_tokens":0,"output_tokens":0}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text",'
    b'"text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",'
    b'"text":"ok"}}\n\n'
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1'
    b"}}\n\n"
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)


@dataclass(frozen=True, slots=True)
class Recipe:
    """`prepare` fills an empty home for the tool; `arguments` make it ask once; `read` takes the instructions out."""

    tool: str
    reply: bytes
    path: str
    arguments: tuple[str, ...]
    prepare: Callable[[Path, int], Mapping[str, str]]
    read: Callable[[dict[str, Any]], tuple[list[str], Shape]]
    places: tuple[str, ...] = ()
    catalog: tuple[str, ...] = ()  # arguments that make it print its models

    def version_of(self, output: bytes) -> str:
        """The version in what `--version` printed. Raises CaptureFailed."""
        match = _VERSION.search(output)
        if match is None:
            raise CaptureFailed(f"{self.tool} --version printed no version")
        return match[0].decode()

    def detected(self, requests: list[Request], version: str, folder: str, now: float) -> Detected:
        """The largest request to the tool's API is its real one. What speaks of `folder`, where the tool was run, is of
        that one run, and left out. Raises CaptureFailed when there is no request.
        """
        asked = [request for request in requests if request.target.split("?")[0].endswith(self.path)]
        if not asked:
            raise CaptureFailed(f"{self.tool} sent no request")
        request = max(asked, key=lambda one: len(one.body))
        body = read_object(request.body)
        if not body:
            raise CaptureFailed(f"{self.tool} sent something that is not JSON")
        instructions, shape = self.read(body)
        return Detected(
            self.tool,
            version,
            now,
            headers=[(name, _told(name, value)) for name, value in request.headers if name not in _PASSING],
            instructions=[_without(text, folder) for text in instructions],
            shape=shape,
            model=str(body.get("model") or ""),
            path=request.target,
        )


def _told(name: str, value: str) -> str:
    """A header's value without what is secret, or of that one run."""
    if is_secret_header(name) or value.startswith("{"):
        return ""
    return _ID.sub("", redact_text(value))


def _without(text: str, folder: str) -> str:
    """A text without the sections (from one heading to the next) that name a folder."""
    sections = re.split(r"(?m)^(?=# )", text)
    return "".join(section for section in sections if folder not in section)


def _codex_home(home: Path, port: int) -> Mapping[str, str]:
    (home / "config.toml").write_text(
        'model_provider = "capture"\n'
        "[model_providers.capture]\n"
        'name = "capture"\n'
        f'base_url = "http://127.0.0.1:{port}"\n'
        'env_key = "CCPROXY_CAPTURE_KEY"\n'
        'wire_api = "responses"\n'
        "request_max_retries = 0\n"
        "stream_max_retries = 0\n",
        "utf-8",
    )
    return {"CODEX_HOME": str(home), "CCPROXY_CAPTURE_KEY": _KEY}


def _codex_instructions(body: dict[str, Any]) -> tuple[list[str], Shape]:
    """Older versions have the field; newer ones a first developer message."""
    if isinstance(body.get("instructions"), str) and body["instructions"]:
        return [body["instructions"]], "instructions"
    items = body.get("input")
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict) and item.get("type") == "message" and item.get("role") == "developer":
            return [_texts(item.get("content"))], "developer"
    return [], "developer"


def _claude_home(home: Path, port: int) -> Mapping[str, str]:
    return {
        "CLAUDE_CONFIG_DIR": str(home),
        "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
        "ANTHROPIC_API_KEY": _KEY,
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


def _claude_instructions(body: dict[str, Any]) -> tuple[list[str], Shape]:
    system = body.get("system")
    if isinstance(system, str):
        return [system], "system"
    blocks = system if isinstance(system, list) else []
    texts = [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]
    return [text for text in texts if not text.startswith(_ATTRIBUTION)], "system"


def _texts(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, dict) and "text" in part)


CODEX = Recipe(
    "codex",
    CODEX_REPLY,
    "/responses",
    ("exec", "--skip-git-repo-check", "--json", "hi"),
    _codex_home,
    _codex_instructions,
    places=("node_modules/.bin/codex", ".local/bin/codex", ".npm-global/bin/codex"),
    catalog=("debug", "models"),
)
CLAUDE = Recipe(
    "claude",
    CLAUDE_REPLY,
    "/v1/messages",
    ("-p", "hi"),
    _claude_home,
    _claude_instructions,
    places=(".claude/local/claude", ".local/bin/claude", "node_modules/.bin/claude", ".npm-global/bin/claude"),
)
