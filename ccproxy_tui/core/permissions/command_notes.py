"""What deserves a look on a command line: tables of texts, programs and variables, each with its note. Pure.

The words are those of command_words.py: quotes are gone, and what `$'...'` stands for is read.
"""

from __future__ import annotations

import posixpath
import re

from ccproxy_tui.core.permissions.command_words import Call, CommandWords, read_command
from ccproxy_tui.core.text.escape import cut

_FLAGS = re.IGNORECASE | re.DOTALL
_NAME = 60  # characters of a name in a note

# How a call reads (its words, joined by spaces, from the program's name on), and the note of that.
_CALLS = {
    "destroys infrastructure or data": (
        (
            r"(terraform|tofu|terragrunt|pulumi|cdk|cdktf|sst|serverless|sls|eksctl|vagrant)\s(.*\s)?(destroy"
            r"|remove|delete)(?!\S)"
        ),
        r"(terraform|tofu)\s.*-auto-approve",
        (
            r"(kubectl|oc|flux|argocd|helm|doctl|flyctl|fly|heroku|gh|glab|az|gcloud|gsutil|vercel|netlify"
            r"|wrangler|firebase)"
            r"\s(.*\s)?(delete|destroy|uninstall|drain|remove|rm|rb|purge|[\w:]+:(destroy|delete|reset))(?!\S)"
        ),
        r"(supabase|railway|multipass|lxc|incus|virsh)\s(.*\s)?(delete|destroy|undefine|purge|reset)(?!\S)",
        r"aws\s.*\s(rm|rb|--delete|(delete|terminate|destroy|purge|deregister)-[\w-]+)(?!\S)",
        r"(docker|podman)(-compose)?\s.*(prune|volume\s+rm|down\s.*(-v|--volumes))(?!\S)",
        r"(dropdb|dropuser)(?!\S)",
        r"(npm|yarn|pnpm)\s+unpublish|(cargo|gem)\s+yank",
        r".*\s?(db:(drop|reset|purge)|migrate\s+reset|migrate:(fresh|reset)|manage\.py\s+flush)",
    ),
    "overwrites a disk or stops the machine": (
        r"dd\s.*of=|mkfs|wipefs|blkdiscard|s?c?fdisk\s|parted\s|mkswap\s|cryptsetup\s|lvremove|vgremove",
        r"(zpool|zfs)\s+destroy|(shutdown|reboot|poweroff|halt)(?!\S)|init\s+[06](?!\S)|kill\s.*\s-1(?!\S)",
        r"iptables\s+-F|nft\s+flush",
    ),
    "discards changes": (
        r"git\s(.*\s)?push\s(.*\s)?:\S|git\s(.*\s)?worktree\s+remove\s.*(-f|--force)(?!\S)",
        r"git\s(.*\s)?(filter-branch|filter-repo|reflog\s+(expire|delete)|gc\s+.*--prune=now|update-ref\s+-d)(?!\S)",
    ),
    "publishes to others": (
        r"(npm|pnpm|yarn|bun|lerna|cargo|poetry|uv|flit|hatch|pdm|maturin|vsce|ovsx)\s(.*\s)?publish(?!\S)",
        r"twine\s+upload|gem\s+push|nuget\s+push|dotnet\s+nuget\s+push|helm\s+push|(docker|podman|nerdctl)\s+push",
        r"gh\s+(release\s+(create|upload)|gist\s+create)|mvn\s(.*\s)?deploy(?!\S)|gradlew?\s(.*\s)?publish",
    ),
    "installs from a place of its own": (
        (
            r"((pip|pipx|uv|poetry|pdm)[\d.]*|\S+\s+-m\s+pip)\s(.*\s)?(--(extra-)?index-url|--(default-)?index"
            r"|--find-links|--trusted-host)(?![\w-])"
        ),
        r"(?-i:((pip|uv)[\d.]*|\S+\s+-m\s+pip)\s(.*\s)?-[if](?![A-Za-z]))|gem\s+install\s(.*\s)?(-s|--source)(?![\w-])",
        r"(npm|npx|pnpm|yarn|bun|cargo)\s(.*\s)?--(registry|index)(?![\w-])",
        r"(npm|pnpm|yarn|pip3?|go)\s+(config|env)\s(.*\s)?(registry|index-url|goproxy)",
    ),
    "sends files out": (
        r"(?-i:curl\s(.*\s)?(-\w*T|--upload-file|-\w*F\s*\S*=[@<]|--form[= ]\S*=[@<]))",
        r"(?-i:curl\s(.*\s)?(-\w*d|--data(-\w+)?|--json)[= ]?@)|wget\s(.*\s)?--(post|body)-file",
    ),
    "gives a connection a program": (
        r"(nc|ncat|netcat)\s(.*\s)?(-\w*[ec]\w*|--exec|--sh-exec)(\s|$)|socat\s.*(exec|system|shell):",
    ),
    "gives a container the machine's rights": (
        r"(docker|podman|nerdctl)\s.*(--privileged|docker\.sock|--cap-add|--device|--security-opt)",
        r"(docker|podman|nerdctl)\s.*--(pid|net|network|ipc|uts|userns)[= ]host",
        r"(docker|podman|nerdctl)\s.*(-v|--volume)[= ]?(/|~|\$HOME|\$\{HOME\})[^\s:]*:",
        r"(docker|podman|nerdctl)\s.*--mount[= ].*(source|src)=(/|~|\$HOME)",
        r"(nsenter|chroot|unshare)\s|kubectl\s.*(--privileged|hostpid)",
    ),
    "reaches the control of this proxy": (
        r"ccproxy-tui(?!\S)|\S*\s.*-m\s+ccproxy_tui|python[\d.]*\s+-m\s+ccproxy_tui",
    ),
    "types into a terminal": (
        (
            r"(tmux|byobu)\s(.*\s)?((send|paste|run|if|split|source)(-\S*)?|(load|set)-?b\S*|(pasteb|resp|pipe-?p"
            r"|new-?w|splitw|at)\S*)(?!\S)"
        ),
        r"screen\s(.*\s)?-\w*X(?!\S)|(xdotool|ydotool|wtype|xte|dotool|ttyecho|cliclick|reptyr|script|expect)(?!\S)",
        r"osascript\s.*(keystroke|do script)|(zellij|kitty|kitten|wezterm)\s.*(write|send-text|action)",
    ),
    "changes which programs git runs": (
        (
            r"git\s(.*\s)?(config\s(.*\s)?|-c\s+)(core\.(hookspath|sshcommand|fsmonitor|editor|pager|gitproxy"
            r"|askpass)|alias\.)"
        ),
        r"git\s(.*\s)?(config\s(.*\s)?|-c\s+)(credential\.|filter\.|diff\.|merge\.|gpg\.|protocol\.|url\.|include)",
        r"git\s(.*\s)?(config\s(.*\s)?|-c\s+)(sequence\.|pager\.|init\.templatedir|uploadpack\.|remote\.|submodule\.)",
        r"git\s.*(ext::|--upload-pack|--receive-pack|--exec[= ]|--template|--open-files-in-pager)",
    ),
    "has an option that runs a program": (
        (
            r"(tar|rsync|ssh|scp|sftp|zip)\s.*(--to-command|--checkpoint-action|--use-compress-program|--rsh"
            r"|--rsync-path|-TT)"
        ),
        r"(ssh|scp|sftp|rsync|git)\s.*(proxycommand|localcommand)",
        r"(?-i:(scp|sftp)\s(.*\s)?-S|rsync\s(.*\s)?-\w*e(\s|$)|man\s(.*\s)?-P)",
        r"(?-i:tar\s(.*\s)?-\w*I)|(gcc|cc|g\+\+|clang)\s(.*\s)?-wrapper(?!\S)|make\s(.*\s)?SHELL=",
        r"(vim?|nvim|ex|view|less|more|gdb|ed)\s.*!|[gmn]?awk\s.*(system\s*\(|\|\s*getline|\|\s*\")",
        r"g?sed\s(.*\s)?([\d,$]*e(\s|$)|s(?P<mark>[/|,#@])\S*?(?P=mark)\S*?(?P=mark)[gpim\d]*e[gpim\d]*(?!\S))",
        r"(?-i:git\s(.*\s)?(rebase\s(.*\s)?-x|bisect\s+run|submodule\s+foreach|difftool\s(.*\s)?-x))",
    ),
    "gives others rights": (
        r"chmod\s(.*\s)?([ugoa]*\+\w*s\w*|[ugo]*[oa][ugo]*[+=]\w*w\w*|[0-7]?[0-7][0-7][2367]|0?[2467][0-7]{3})(?!\S)",
        r"(setfacl|setcap|chattr|usermod|useradd|adduser|xhost)\s|(passwd|visudo)(?!\S)",
    ),
    "runs later or at times": (
        r"(crontab|at|batch|systemd-run|schtasks|launchctl)(\s|$)",
        r"systemctl\s(.*\s)?(enable|start|restart|edit|link|daemon-reload)(?!\S)",
    ),
    "starts an agent that need not ask": (
        r"\S+\s(.*\s)?(--(allow-)?dangerously-\S+|--yolo|--full-auto|--yes-always|bypasspermissions)(?!\S)",
    ),
    "ends other programs": (
        r"(pkill|killall)\s|kill\s+-(9|KILL|SIGKILL)\s|systemctl\s(.*\s)?(stop|disable|mask|kill)(?!\S)",
    ),
    "touches a place where secrets lie": (
        r"printenv(?!\S)|export\s+-p(?!\S)|gh\s+auth\s+token|gcloud\s+auth\s+\S*print-|aws\s+configure\s+(get|export)",
        r"op\s+(read|item)(?!\S)|pass\s+show|secret-tool\s+lookup|security\s+(find|dump|export)|gpg\s.*--export-secret",
        r"keyctl\s|vault\s+(read|kv)(?!\S)|kubectl\s+get\s+secrets?|heroku\s+config|az\s+account\s+get-access-token",
        r"docker-credential-|git\s+credential\s+fill|(declare|typeset)\s+-[xp](?!\S)",
    ),
    "hides what was run": (r"history\s+-[cdw]|unset\s+histfile|set\s+\+o\s+history|auditctl\s",),
    "decodes text": (
        r"base(64|32)\s(.*\s)?(-\w*d\w*|--decode)(?!\S)|xxd\s(.*\s)?-\w*r|openssl\s.*\s-d(?!\S)|uudecode",
    ),
}
# Texts that say so wherever they stand.
_ANYWHERE = {
    "destroys infrastructure or data": (
        r"\b(drop|truncate)\s+(table|database|schema|view|index|user|role|keyspace|collection)\b|\btruncate\s+\w+\s*(;|$)",
        r"\bdelete\s+from\s|dropdatabase|\bflush(all|db)\b|\bdb\.\w+\.(drop|deletemany|remove)\(",
    ),
    "overwrites a disk or stops the machine": (r":\(\)\s*\{",),
    "opens a connection of its own (/dev/tcp)": (r"/dev/(tcp|udp)/",),
    "gives a container the machine's rights": (r"(docker|containerd|podman)\.sock",),
    "reaches the control of this proxy": (
        r"ccproxy(-\d+)?/[\w.*?-]*\.(sock|json)|ccproxy/control|x-ccproxy-control",
        r"/permissions/[^\s/]+/(respond|extend|rules|card)|permissions/stream",
    ),
    "types into a terminal": (r"tiocsti|/dev/(pts/|tty\d)",),
}
_PATTERNS = [
    *((note, re.compile(rf"(?:\S*/)?(?:{'|'.join(patterns)})", _FLAGS).match) for note, patterns in _CALLS.items()),
    *((note, re.compile("|".join(patterns), _FLAGS).search) for note, patterns in _ANYWHERE.items()),
]
_LONGEST_CALL = 8000  # characters that are looked through
_DEPTH = 3  # of commands that are words of commands
_QUIET = frozenset(("decodes text",))  # a note, and nothing that asks for the key twice
# Variables that change which code runs: of any program, and of programs that the user means to set up.
_GRAVE_VARIABLES = re.compile(
    r"(LD_\w+|DYLD_\w+|BASH_ENV|ENV|BASH_FUNC_.*|SHELLOPTS|BASHOPTS|PROMPT_COMMAND|PS[0124]|IFS|PATH|CDPATH"
    r"|FPATH|ZDOTDIR|SHELL"
    r"|GIT_(SSH|SSH_COMMAND|EXTERNAL_DIFF|ASKPASS|PROXY_COMMAND|EXEC_PATH|TEMPLATE_DIR|CONFIG\w*|DIR"
    r"|WORK_TREE|SSL_NO_VERIFY)"
    r"|SSH_ASKPASS|SUDO_ASKPASS|PERL5OPT|PERL5DB|RUBYOPT|PYTHONSTARTUP|PYTHONHOME|PYTHONINSPECT"
    r"|PYTHONBREAKPOINT|LESSOPEN|LESSCLOSE"
    r"|NODE_TLS_REJECT_UNAUTHORIZED|(ANTHROPIC|OPENAI|CLAUDE|CODEX)_\w*(URL|BASE|HOME|DIR)|XDG_\w+|HOME"
    r"|(HTTPS?|ALL)_PROXY"
    r"|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|JDK_JAVA_OPTIONS|GCONV_PATH|GLIBC_TUNABLES|OPENSSL_CONF|SSL_CERT_\w+"
    r"|REQUESTS_CA_BUNDLE"
    r"|(PIP|UV)_\w*(INDEX|FIND_LINKS)\w*|NPM_CONFIG_REGISTRY|GOPROXY"
    r"|CURL_HOME|WGETRC|TMUX|DOCKER_HOST|KUBECONFIG)",
    re.IGNORECASE,
)
_VARIABLES = re.compile(
    r"(GIT_\w+|PYTHONPATH|PYTHON\w+|NODE_OPTIONS|NODE_PATH|NPM_CONFIG_\w+|PERL5LIB|RUBYLIB|CLASSPATH|(VISUAL"
    r"|\w*EDITOR|\w*PAGER)"
    r"|RUSTC_WRAPPER|RUSTFLAGS|CARGO_\w+|CC|CXX|LD|AR|MAKEFLAGS|MAKEFILES|PIP_\w+|UV_\w+|GOFLAGS|GOPROXY|BROWSER)",
    re.IGNORECASE,
)
_INTERPRETERS = re.compile(r"(python|pypy|node|deno|bun|ruby|perl|php|lua|tclsh|osascript|rscript|julia)[\d.]*")
_SHELLS = re.compile(r"(ba|z|da|a|k|mk|c|tc|fi)?sh|pwsh|busybox")
_BEHIND = frozenset(("nohup", "setsid", "disown", "daemonize"))
_SEARCHES = frozenset(("grep", "egrep", "fgrep", "rg", "ag", "ack"))
_TALKS = frozenset(("commit", "log", "grep", "show", "blame", "tag"))  # verbs of git whose words are text
_RUNS = re.compile(r"-O|--op|--pre(=|$)|--hostname-bin|--ext-diff|--textconv")  # options of those
_SENDS = frozenset(("nc", "ncat", "netcat", "socat", "telnet", "ssh"))  # what comes in, they send
_TEXT_OPTION = re.compile(r"-\w*[cerp]|--eval|--print|eval|-")
_PATTERN = re.compile(r"[*?{]|\[.+\]")
GRAVE = (
    *(note for note in (*_CALLS, *_ANYWHERE) if note not in _QUIET),
    *("a program's name is", "sets", "empties", "pipes into", "can't be read", "sends"),
)  # how notes begin that ask for the key twice


def command_notes(words: CommandWords, depth: int = _DEPTH) -> list[str]:
    """Return the notes on the calls of a command line, each once."""
    notes: list[str] = []
    for call in words.calls:
        notes += _of_call(call, depth)
    for before, after in words.pipes:
        notes += _of_pipe(before, after)
    for text in words.heres:
        notes += _of_text(text, depth)
    if words.empties:
        notes.append(f"empties {' '.join(cut(path, _NAME) for path in words.empties[:3])}")
    if words.behind or any(posixpath.basename(name) in _BEHIND for name in words.programs):
        notes.append("keeps running in the background")
    return list(dict.fromkeys(notes))


def _of_call(call: Call, depth: int) -> list[str]:
    notes = [*_of_variables(call), *_of_name(call)]
    program = posixpath.basename(call.words[0]) if call.words else ""
    if _only_talks(program, call.words[1:]):
        notes += ["has an option that runs a program"] if any(map(_RUNS.match, call.words[1:])) else []
    else:
        text = " ".join((*call.words, *call.opens))
        if len(text) > _LONGEST_CALL:
            notes.append(f"can't be read: a call of {len(text):,} characters")
        notes += [note for note, finds in _PATTERNS if finds(text[:_LONGEST_CALL])]
        for word in call.words[1:]:
            notes += _of_text(word, depth) if " " in word.strip() or "\n" in word.strip() else []
    rest = call.words[1:]
    if program == "env" and not any(not word.startswith("-") for word in rest):
        notes.append("touches a place where secrets lie")
    if _SHELLS.fullmatch(program) and (call.here or any(re.fullmatch(r"-\w*[csi]\w*", word) for word in rest)):
        notes.append("pipes into a shell")
    elif _INTERPRETERS.fullmatch(program) and (call.here or any(map(_TEXT_OPTION.fullmatch, rest[:3]))):
        notes.append(f"runs a text with {cut(program, _NAME)}")
    return notes


def _only_talks(program: str, rest: list[str]) -> bool:
    """Whether the words of a call are texts to look for or to keep, and not to run."""
    verb = next((word for word in rest if word not in ("-P", "--no-pager")), "")
    return program in _SEARCHES or (program == "git" and verb in _TALKS)


def _of_text(text: str, depth: int) -> list[str]:
    """The notes on a command inside of a text."""
    return [note for note in command_notes(read_command(text), depth - 1) if note in GRAVE] if depth else []


def _of_variables(call: Call) -> list[str]:
    names = [re.split(r"\+?=", word, maxsplit=1)[0] for word in call.assigns]
    grave = [name for name in names if _GRAVE_VARIABLES.fullmatch(name)]
    quiet = [name for name in names if name not in grave and _VARIABLES.fullmatch(name)]
    notes = [f"sets {' '.join(cut(name, _NAME) for name in grave)}, which changes what runs"] if grave else []
    return [*notes, f"with {' '.join(cut(name, _NAME) for name in quiet)} set"] if quiet else notes


def _of_name(call: Call) -> list[str]:
    if not call.words:
        return []
    name, raw = call.words[0], call.raw
    if "$'" in raw or (re.search(r"[\\'\"]", raw.strip("'\"")) and re.fullmatch(r"[\w./-]+", name)):
        return [f"a program's name is spelled in an odd way: {cut(name, _NAME)}"]
    if "$" in raw or "`" in raw:
        return [f"a program's name is a variable: {cut(name, _NAME)}"]
    if _PATTERN.search(raw) and name not in ("[", "[["):
        return [f"a program's name is a pattern: {cut(name, _NAME)}"]
    return [] if name.isascii() else [f"a program's name is not in plain letters: {cut(name, _NAME)}"]


def _of_pipe(before: Call, after: Call) -> list[str]:
    program = posixpath.basename(after.words[0]) if after.words else ""
    named = [word for word in after.words[1:] if word != "-"]
    if _SHELLS.fullmatch(program) and not any(not word.startswith("-") for word in named):
        return ["pipes into a shell"]
    if program in _SENDS:
        return [f"sends what comes before with {program}"]
    return [f"pipes into {cut(program, _NAME)}"] if _INTERPRETERS.fullmatch(program) and not named else []
