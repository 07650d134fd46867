"""What is known of programs: which no rule allows, and which commands stay bounded whatever words follow. Pure.

A rule that ends with `:*` covers words that its user has not seen. So it covers them only for the commands of the
tables below, only with the options listed there, and only with paths inside the working folder: such a command reads,
or runs what the project itself defines, and no listed word makes it run, load, write or send something else. Everything
else needs a rule with the exact command. Options are listed as they are spelled; an abbreviation is not covered.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

# Programs that delete, gain rights, or run text and programs that a rule has not seen.
HARMFUL = frozenset(
    (
        *("rm", "rmdir", "unlink", "shred", "dd", "mkfs", "truncate"),
        *("sudo", "doas", "su", "pkexec", "chroot", "unshare", "nsenter"),
        *("xargs", "nohup", "setsid", "strace", "ltrace", "gdb", "lldb", "expect", "busybox", "toybox", "crontab"),
        *("sh", "bash", "zsh", "dash", "ash", "ksh", "csh", "tcsh", "fish", "pwsh"),
        *("python", "pypy", "ipython", "node", "deno", "bun", "ruby", "irb", "perl", "php", "lua", "luajit", "tclsh"),
        *("awk", "gawk", "mawk", "nawk", "osascript", "npx", "bunx", "pnpx", "uvx", "pipx"),
        *("curl", "wget", "nc", "ncat", "netcat", "socat", "telnet"),
    )
)
# Beside them, programs that run others or change what names stand for; as an argument these are common words.
NEVER = HARMFUL | frozenset(
    (
        *("tee", "find", "ssh", "env", "time", "nice", "ionice", "parallel", "watch", "script", "stdbuf"),
        *("timeout", "flock", "at", "batch", "source", ".", "eval", "exec"),
        *("command", "builtin", "trap", "alias", "hash", "enable", "bind", "mapfile", "readarray", "fc"),
        *("export", "declare", "typeset", "local", "readonly", "set", "shopt", "setopt"),
    )
)

# Command; what its other words are (path, paths, folder, pattern: a pattern and then paths, any, text: any and no
# options, none, or a regular expression for each); options. `-ab` are two options, `-n:` takes a value, `--color=` only
# one that is joined to it, `-#` is a number, `-.run:` is the single option -run.
_READS = """
ls; paths; -1AaBCcdFfGghHiklmnopqrRstuUvx --all --almost-all --color --color= --human-readable --time-style= --sort=
cat; paths; -AbeEnstTuv --number
head; paths; -n: -c: -qv -# --lines: --bytes:
tail; paths; -n: -c: -qv -# --lines: --bytes:
wc; paths; -clmwL --lines --words --bytes --chars
nl; paths; -b:
stat; paths; -Ltx -c: --format:
file; paths; -biL --brief --mime-type
du; paths; -shackm -d: --max-depth: --human-readable --summarize
df; none; -hTikPl
tree; paths; -adfFhisDpugC -L: -I: -P: --dirsfirst --gitignore --noreport
grep; pattern; -rnilLcvwxoEFGPHhsqaI -A: -B: -C: -m: -# --color --color= --include: --exclude: --exclude-dir: \
--line-number --recursive --ignore-case --count --only-matching --files-with-matches --fixed-strings --extended-regexp \
--perl-regexp --word-regexp --invert-match --with-filename --no-filename --max-count: --context: --after-context: \
--before-context: --text
egrep; pattern; -rnilLcvwxoHhsqaI -A: -B: -C: -m:
fgrep; pattern; -rnilLcvwxoHhsqaI -A: -B: -C: -m:
rg; pattern; -nilcvwxoFPSsUHNI0ap -A: -B: -C: -m: -g: -t: -T: -j: -d: -r: -M: --glob: --iglob: \
--type: --type-not: --max-count: --max-depth: --context: --after-context: --before-context: --line-number --no-heading \
--heading --color: --json --stats --count --count-matches --files-with-matches --files-without-match --ignore-case \
--smart-case --case-sensitive --fixed-strings --multiline --word-regexp --only-matching --no-filename --with-filename \
--sort: --replace: --no-line-number --column --trim --invert-match
rg --files; paths; -gu -g: -t: --hidden --no-ignore --glob: --type: --sort:
fd; pattern; -HIsiagp0 -t: -e: -d: -E: --hidden --no-ignore --type: --extension: --max-depth: --exclude: --glob
sort; paths; -nrufhVgbMs -k: -t: --numeric-sort --reverse --unique --human-numeric-sort --version-sort --key:
uniq; path; -cdDui -f: -s: -w: --count --repeated --unique --ignore-case
cut; paths; -s -d: -f: -c: -b: --delimiter: --fields:
tr; any; -dscC --delete --squeeze-repeats --complement
rev; paths;
tac; paths;
fold; paths; -s -w:
comm; paths; -123
diff; paths; -uqNwbBiyas -U: --brief --unified --unified= --color --color= --ignore-all-space
cmp; paths; -sl
jq; (?!.*(?:env|ENV|import|include|input))[\\w.,:|()"' \\[\\]-]+; \
-rcseSnMCj --raw-output --compact-output --slurp --exit-status --sort-keys
md5sum; paths;
sha1sum; paths;
sha256sum; paths;
shasum; paths; -a:
echo; text;
printf; any;
basename; any; -a -s:
dirname; any;
realpath; paths; -em
readlink; paths; -fem
pwd; none; -LP
whoami; none;
id; none; -ugnGr
groups; none;
hostname; none; -sf
uname; none; -asnrvmpio
arch; none;
nproc; none; --all
uptime; none; -ps
date; [+][%\\w:. T/-]+; -uR -I --utc --iso-8601 --iso-8601=
ps; aux?; -Aefl
which; any; -a
type; any; -at
cd; folder;
sleep; \\d+(?:\\.\\d+)?[smh]?;
seq; -?\\d+;
true; none;
false; none;
go version; none;
git --version; none;
docker ps; none; -aq --all --no-trunc --quiet
docker images; none; -aq --all --no-trunc --quiet
"""
_OF_A_PROJECT = """
git status; paths; -sbuv --short --branch --porcelain --porcelain= --untracked-files= --ignored --long --no-renames
git diff; paths; -pwbRamsz -U: -M --stat --stat= --cached --staged --name-only --name-status --numstat --shortstat \
--summary --check --color --color= --no-color --color-words --word-diff --word-diff= --unified= --minimal --patience \
--histogram --diff-filter= --exit-code --quiet --patch --no-ext-diff --no-textconv --no-renames --merge-base --text \
--ignore-all-space --ignore-space-change --function-context -W
git log; paths; -pswbimz -n: -S: -G: -L: -U: -M -# --oneline --graph --all --stat --stat= --shortstat --numstat \
--name-only --name-status --decorate --decorate= --author= --committer= --since= --until= --after= --before= --grep= \
--author: --since: --until: --after: --before: --grep: --follow --no-merges --merges --first-parent --reverse --date= \
--date: --format= --pretty --pretty= --abbrev-commit --patch --no-patch --max-count= --max-count: --diff-filter= \
--color --color= --no-color --no-decorate --branches --tags --remotes --topo-order --date-order --left-right \
--cherry-pick --merge --no-renames --no-ext-diff --skip=
git show; paths; -pswbmz -U: -M -# --stat --stat= --shortstat --numstat --name-only --name-status --oneline --format= \
--pretty --pretty= --patch --no-patch --color --color= --no-color --abbrev-commit --date= --decorate --no-ext-diff \
--diff-filter= --unified= --summary
git blame; paths; -wMCesl -L: --date= --line-porcelain --porcelain
git grep; pattern; -nilwcoEFGPvHhqI -A: -B: -C: --cached --line-number --ignore-case --count --name-only
git branch; none; -arv --all --remotes --list --show-current --verbose --merged --no-merged --sort= --color --no-color
git tag; none; -ln --list --sort=
git remote; none; -v --verbose
git stash list; none; -# --oneline --stat
git stash show; paths; -p --stat --patch
git rev-parse; paths; --show-toplevel --abbrev-ref --short --short= --verify --git-dir --is-inside-work-tree -q
git rev-list; paths; -n: -# --count --all --max-count= --no-merges --first-parent --left-right
git ls-files; paths; -modcsiz --others --modified --exclude-standard --cached --deleted --stage
git ls-tree; paths; -rltdz --name-only --full-tree
git describe; paths; --tags --always --long --dirty --all --abbrev=
git merge-base; paths; --all --is-ancestor --fork-point
git shortlog; paths; -sne --summary --numbered --email --no-merges
git reflog; none; -n: -#
git add; paths; -Auvn --all --update --verbose --dry-run
git commit; none; -asvq -m: --message: --all --allow-empty --quiet --signoff --verbose
pytest; paths; -qvxsl -k: -m: -n: -r: --lf --ff --last-failed --failed-first --nf --sw --stepwise --co --collect-only \
--tb: --maxfail: --durations: --no-header --no-summary --verbose --quiet --exitfirst --showlocals --disable-warnings \
--color: --timeout: --cov --no-cov
ruff check; paths; -qvne --diff --statistics --select: --ignore: --extend-select: --preview --show-fixes \
--no-cache --quiet --output-format: --no-fix
ruff format --check; paths; -qvn --diff --quiet --preview --no-cache
mypy; paths; -p: -m: --strict --show-error-codes --ignore-missing-imports --pretty --no-error-summary \
--explicit-package-bases --namespace-packages --no-incremental --warn-unreachable --check-untyped-defs
pyright; paths; --stats --outputjson --warnings
black --check; paths; -q -l: --diff --quiet --line-length: --color
isort --check; paths; -q --diff --profile:
flake8; paths; --max-line-length= --select= --ignore= --extend-ignore= --statistics --count --max-line-length:
tsc --noEmit; none; --pretty --skipLibCheck --strict
eslint; paths; --ext: --max-warnings: --quiet --color --no-color --report-unused-disable-directives
prettier --check; paths;
shellcheck; paths; -s: -e: -S: -x
cargo build; none; -rqv -p: -F: -j: --release --package: --all --workspace --all-targets --all-features --features: \
--no-default-features --lib --bins --bin: --tests --examples --example: --locked --offline --frozen --quiet \
--jobs: --verbose
cargo check; none; -rqv -p: -F: -j: --release --package: --all --workspace --all-targets --all-features --features: \
--no-default-features --lib --bins --bin: --tests --examples --example: --locked --offline --frozen --quiet \
--jobs: --verbose
cargo test; [A-Za-z_][\\w:]*; -rqv -p: -F: -j: --release --package: --all --workspace --all-targets --all-features \
--features: --no-default-features --lib --bins --bin: --tests --test: --examples --example: --doc --no-run --locked \
--offline --frozen --quiet --jobs: --no-fail-fast --verbose -- --nocapture --test-threads=1 --exact --ignored --quiet
cargo clippy; none; -rqv -p: -F: -j: --release --package: --all --workspace --all-targets --all-features --features: \
--no-default-features --lib --bins --tests --locked --offline --frozen --quiet --no-deps -- -D -W warnings clippy::all \
clippy::pedantic
cargo fmt --check; none; -qv --all
cargo tree; none; -dq --depth: --offline --locked --duplicates
go build; [.](?:/[\\w./-]+)?; -.v -.race -.trimpath
go vet; [.](?:/[\\w./-]+)?; -.v
go test; [.](?:/[\\w./-]+)?; -.v -.race -.short -.cover -.failfast -.json -.run: -.count: -.timeout: -.parallel: \
-.cpu: -.bench: -.benchmem -.skip:
"""
# Scripts and targets by their names, for rules that users write themselves; what `A` proposes for these is exact.
_BY_HAND = """
make; [A-Za-z0-9][\\w.-]*;
just; [A-Za-z0-9][\\w.-]*;
npm run; [A-Za-z0-9][\\w.:-]*;
npm test; none;
pnpm run; [A-Za-z0-9][\\w.:-]*;
pnpm test; none;
"""
# They run what follows in the project's own environment; a rule that a user wrote for one covers bounded commands.
_ENVIRONMENTS = frozenset({("uv", "run"), ("poetry", "run"), ("pdm", "run"), ("pipenv", "run"), ("rye", "run")})
_MOST_WORDS = 100  # of a command that a rule covers: each may be a path to follow
_VERSIONED = "0123456789.-"  # python3.13 is python


@dataclass(frozen=True, slots=True)
class Bounded:
    """One line of the tables; `reads_project`: what it does depends on files of the folder that it runs in."""

    command: tuple[str, ...]
    words: str
    options: frozenset[str]
    last: frozenset[str]  # words that may come after `--`
    reads_project: bool
    proposed: bool


def is_never(program: str) -> bool:
    """Whether no rule allows a program: by its name in lower case, as some file systems know no case."""
    return "/" in program or _is_one_of(program, NEVER)


def is_harmful(word: str) -> bool:
    """Whether a word in any place of a command may be a program that no rule allows."""
    return _is_one_of(posixpath.basename(word), HARMFUL)


def _is_one_of(word: str, names: frozenset[str]) -> bool:
    name = word.lower().removesuffix(".exe")
    return name in names or name.rstrip(_VERSIONED) in names


def bounded(words: Sequence[str]) -> Bounded | None:
    """Return the entry of a command, None where the tables have none."""
    if tuple(words[:2]) in (("git", "--no-pager"), ("git", "-P")):
        words = ["git", *words[2:]]
    return next((_TABLE[key] for size in (3, 2, 1) if (key := tuple(words[:size])) in _TABLE), None)


def is_bounded(words: Sequence[str], is_inside: Callable[[str], bool], *, moved: bool = False) -> bool:
    """Whether a command is of the tables and each of its words, too.

    `is_inside` tells whether a path lies in the working folder. `moved`: the line has gone to another folder before.
    """
    if tuple(words[:2]) in _ENVIRONMENTS and not moved:
        words = words[2:]
    entry = bounded(words)
    if entry is not None and entry.words == "text":
        return True
    if entry is None or (moved and entry.reads_project) or len(words) > _MOST_WORDS:
        return False
    skipped = len(entry.command) + (tuple(words[:2]) in (("git", "--no-pager"), ("git", "-P")))
    others = _without_options(entry, list(words[skipped:]))
    return others is not None and _are_harmless(entry, others, is_inside)


def _without_options(entry: Bounded, words: list[str]) -> list[str] | None:
    """The words that are no options; None where there is an option that is not listed, or a value that is a path."""
    others: list[str] = []
    words.reverse()
    while words:
        word = words.pop()
        if word == "--":
            words.reverse()
            if entry.last:
                return others if entry.last.issuperset(words) else None
            return None if any(rest.startswith("-") for rest in words) else [*others, *words]
        if not word.startswith("-") or word == "-":
            others.append(word)
            continue
        value = _value(entry.options, word)
        if value is None and words:
            value = words.pop()
        if value is None or value is _REFUSED or value.startswith(("-", "@", "/", "~")) or ".." in value.split("/"):
            return None
    return others


_REFUSED = "-"  # a value that no option may have


def _value(options: frozenset[str], word: str) -> str | None:
    """What is joined to an option, empty where it takes nothing; None where its value is the next word."""
    name, equals, joined = word.partition("=")
    if word in options or (word[1:].isdigit() and "-#" in options):
        return ""
    if equals and (f"{name}=" in options or f"{name}:" in options):
        return joined
    if f"{word}:" in options:
        return None
    if word.startswith("--"):
        return _REFUSED
    for place, letter in enumerate(word[1:], 2):
        if f"-{letter}:" in options:
            return word[place:] or None
        if f"-{letter}" not in options:
            return _REFUSED
    return ""


def _are_harmless(entry: Bounded, words: list[str], is_inside: Callable[[str], bool]) -> bool:
    match entry.words:
        case "any":
            return True
        case "none":
            return not words
        case "folder":  # to leave for HOME, or for the folder before, is not to stay inside
            return len(words) == 1 and words[0] != "-" and _is_path(words[0], is_inside)
        case "path":
            return len(words) <= 1 and all(_is_path(word, is_inside) for word in words)
        case "paths":
            return all(_is_path(word, is_inside) for word in words)
        case "pattern":
            return all(_is_path(word, is_inside) for word in words[1:])
    if not entry.proposed and (len(words) > 1 or any(map(is_never, words))):
        return False
    paths = words if entry.command[0] == "go" else words[1:]
    return all(re.fullmatch(entry.words, word) for word in words) and all(_is_path(one, is_inside) for one in paths)


def _is_path(word: str, is_inside: Callable[[str], bool]) -> bool:
    """Whether it can be nothing but a path inside; `@file` and `+x` are options to some programs."""
    return not word.startswith(("@", "+")) and is_inside(word.split("::")[0])


def _entries(table: str, *, reads_project: bool, proposed: bool) -> Iterator[Bounded]:
    for line in table.strip().replace("\\\n", "").split("\n"):
        command, words, options = (field.strip() for field in line.split(";"))
        listed, _, last = options.partition(" -- ")
        names = frozenset(name for option in listed.split() for name in _spelled(option))
        yield Bounded(tuple(command.split()), words, names, frozenset(last.split()), reads_project, proposed)


def _spelled(option: str) -> list[str]:
    if option.startswith("-."):
        return [f"-{option[2:]}"]
    if option.startswith("--") or option.endswith(":") or option == "-#":
        return [option]
    return [f"-{letter}" for letter in option[1:]]


_TABLE = {
    entry.command: entry
    for entry in (
        *_entries(_READS, reads_project=False, proposed=True),
        *_entries(_OF_A_PROJECT, reads_project=True, proposed=True),
        *_entries(_BY_HAND, reads_project=True, proposed=False),
    )
}
