"""The limits of everything that others send: sizes in bytes, times in seconds. What the user may change is a setting.

| what | limit | when it is exceeded |
|---|---|---|
| a client's request head | `server.max_header_kb`, `server.head_seconds` | 431, 408; the connection is closed |
| a client's request body, also unpacked | `server.max_body_mb`, `server.body_seconds`, `BODY_IDLE` | 413, 408; closed |
| a body for a permission, an MCP message, a control verb | `ASK_BODY`, `ASK_BODY`, `VERB_BODY` | 413; closed |
| large bodies of one client at once, of all clients | `server.client_memory_mb`, `server.memory_mb` | they wait; 429 |
| large bodies that wait for that, for how long | `SHARE_WAITING` of a client, `SHARE_SECONDS` | 429; closed |
| what a client still sends after its answer | `UNREAD_BYTES`, `UNREAD_SECONDS` | the connection is closed |
| framing between two pieces of a client's body | `server.max_header_kb` | 431; closed |
| connections that wait for a request | `WAITING_CONNECTIONS`, 75 s | the one that waits longest is closed |
| fragments of one WebSocket message | `FRAGMENTS`, `server.max_body_mb` | the socket is closed |
| values, and width of text, in a JSON body that is taken apart | `core.formats.weight` | 400, or a 502 for an answer |
| a model's name | `MODEL_NAME` | 400 |
| layers of content encoding | `ENCODINGS` | 415, or not decoded |
| unpacked size of a compressed body | `RATIO` times its size, `RATIO_FREE` at least | 413, 502, or not decoded |
| an upstream's response head | `HEAD_BYTES`, `http.read_timeout` in all | 502, 504 |
| one event of a stream that is taken apart | `EVENT` | an error event; the upstream call ends |
| an answer that is collected | `ANSWER`; an error `ERROR_ANSWER` | 502 |
| an answer of a token endpoint | `TOKEN_ANSWER`, `TOKEN_SECONDS` | the login or renewal fails |
| MCP sessions of the older transport | `MCP_SESSIONS`, `MCP_WAITING` messages each | an unused one ends; else 429 |
| an MCP session whose client says nothing | `MCP_UNUSED` | it ends |
| one message of an SDK agent | `AGENT_LINE`, `core.formats.weight` | the agent is ended; 502 |
| messages of an SDK agent that are not read yet | `AGENT_WAITING`, `AGENT_WAITING_BYTES` | it waits |
| what a tool prints and sends while it is detected | `TOOL_OUTPUT`, `TOOL_REQUESTS`, 20 s | nothing is taken |
| one file that such a tool writes | `TOOL_FILE` | the system ends it |
| kept of an exchange's headers, texts and notes | `KEPT_HEADERS`, `KEPT_TEXT`, 200 | cut, with a mark |
| kept of an answer, of all bodies | `core.records.kept_bodies`, `core.records.store` | the rest is counted, not kept |
"""

from __future__ import annotations

KB = 1024
MB = 1024 * KB

# A permission request may hold a whole file that a tool wants to write.
ASK_BODY = 16 * MB
# Settings, answers of a user, rules: text that was typed.
VERB_BODY = 1 * MB

# A client that is slower than this has gone, or means harm. On loopback a body comes in milliseconds.
BODY_IDLE = 60.0
# What a body of this size costs is not counted: most requests of agents are smaller, or a little larger.
SHARED_FROM = 64 * KB
# Each that waits costs what the server reads ahead, some 100 KB.
SHARE_WAITING = 100
SHARE_SECONDS = 30.0
# A client that sends on after its answer has a moment to read that answer; then its connection ends.
UNREAD_BYTES = 1 * MB
UNREAD_SECONDS = 5.0
# Each costs a file descriptor and about 10 KB. Clients keep a handful, and open another one when one was closed.
WAITING_CONNECTIONS = 1024
# Libraries send a message in one piece, or in pieces of at least 16 KB.
FRAGMENTS = 4096

# The longest real ones (ARNs, paths of local files) have about 200 characters.
MODEL_NAME = 512

# More than one layer is legal, and never seen.
ENCODINGS = 3
# JSON and event streams shrink to a tenth, streams of tiny events to a thirtieth. A bomb shrinks to a thousandth.
RATIO = 50
RATIO_FREE = 4 * MB
# Unpacked at once: below a millisecond of work.
UNPACK_STEP = 64 * KB

# The largest real event holds a whole answer (`response.completed`), or an image (base64) of some MB.
EVENT = 32 * MB
ANSWER = 256 * MB
ERROR_ANSWER = 1 * MB

TOKEN_ANSWER = 1 * MB
TOKEN_SECONDS = 30.0

# Which of these must be shorter than which: core.timeouts.
HOOK_SECONDS = 600  # that clients give a hook of ours
SETTLE_SECONDS = 5.0  # that a renewal under way may take when the proxy ends, so that its token is not lost
LAST_SECONDS = 1  # for connections, after the streams have ended
STOP_MARGIN = 8.0  # after server.drain_seconds, before a host kills its proxy

MCP_SESSIONS = 64
MCP_WAITING = 64
MCP_UNUSED = 60.0

# Images and files that its tools read come in one line each, in base64; Claude Code reads none of more than some MB.
AGENT_LINE = 16 * MB
AGENT_WAITING = 1000
AGENT_WAITING_BYTES = 32 * MB

# The longest real output is Codex's list of models, the longest real request Claude Code's first one: 300 KB each.
TOOL_OUTPUT = 16 * MB
TOOL_REQUESTS = 32 * MB
TOOL_FILE = 64 * MB

# Kept of each exchange for the screens: what others may make as long as they like.
KEPT_HEADERS = 16 * KB
KEPT_TEXT = 2000


def clip(text: str, longest: int) -> str:
    """The text, cut with a mark when it has more than `longest` characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}\N{HORIZONTAL ELLIPSIS}"
