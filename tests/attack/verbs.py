"""The attacker's program: every verb that decides, over the control socket, as `curl --unix-socket` would send it.

python verbs.py SOCKET ID OUT [PARENT]: writes `[[path, status, text], ...]` to OUT. With PARENT, it waits until that
process is no longer its parent. Run alone: it imports nothing of ours.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import time
from pathlib import Path

VERBS = [
    ("/permissions/{id}/extend", {"seconds": 300}),
    ("/permissions/rules/remove", {"rule": "Bash(npm test)"}),
    ("/permissions/rules/undo", {}),
    ("/control/settings/permissions.timeout_seconds", {"value": "300"}),
    ("/control/settings/security.auth_token", {"value": "known-to-the-attacker"}),
    ("/permissions/{id}/rules", {"rules": ["Bash(git diff:*)"], "scope": "user"}),
    ("/permissions/{id}/respond", {"allowed": True, "by": "person"}),
]


class _Unix(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.connect(self.host)


def send(path: str, route: str, body: object) -> tuple[int, str]:
    connection = _Unix(path, timeout=20)
    connection.request("POST", route, json.dumps(body), {"content-type": "application/json", "host": "localhost"})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def main() -> None:
    path, asked, out = sys.argv[1:4]
    while len(sys.argv) > 4 and os.getppid() == int(sys.argv[4]):
        time.sleep(0.01)
    found = [[route, *send(path, route.format(id=asked), body)] for route, body in VERBS]
    part = Path(f"{out}.part")
    part.write_text(json.dumps(found), "utf-8")
    part.rename(out)


if __name__ == "__main__":
    main()
