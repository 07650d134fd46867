"""Files that are programs in disguise: writing one runs something later, or hands secrets on. Pure.

Names are compared without case, as some file systems do; `..` and `//` are resolved by the text.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

# What runs by itself: with the next command, login, start of a tool or opened folder. The user does nothing for it.
_BY_ITSELF = {
    "git runs it": r"\.git/(hooks/.+|config(\.worktree)?|info/attributes|modules/.+/(hooks/.+|config))|\.gitmodules"
    r"|\.gitconfig|\.config/git/.+|\.husky/.+|\.githooks/.+",
    "it sets which programs git runs": r"\.gitattributes",
    "Claude Code runs or obeys it": r"\.claude/(settings[^/]*\.json|hooks/.+|commands/.+|agents/.+|skills/.+"
    r"|plugins/.+)"
    r"|\.claude\.json|managed-settings\.json",
    "Codex runs or obeys it": r"\.codex/.+",
    "it starts programs for agents": r"\.?mcp\.json|\.cursor/.+|\.opencode/.+|opencode\.jsonc?|\.gemini/.+"
    r"|\.aider\.conf\.yml",
    "it sets up this proxy": r"\.?ccproxy\.toml|ccproxy/(config\.toml|\.env|control-token|.+\.sock)|\.ccproxy/.+",
    "it is read as settings, or holds secrets": r"\.env(\.(?!example$|sample$|template$|dist$)[^/]+)?",
    "direnv runs it": r"\.envrc",
    "editors run it": r"\.vscode/(tasks|settings|launch|extensions|mcp)\.json|.+\.code-workspace|\.idea/.+"
    r"|\.devcontainer/.+|\.devcontainer\.json|\.exrc|\.nvimrc|\.nvim\.lua|\.vimrc|\.emacs(\.d/.+)?|\.config/nvim/.+",
    "a shell runs it when it starts": r"\.(bash|zsh|profile|login|kshrc|cshrc|tcshrc|inputrc)[\w.-]*"
    r"|\.bash(rc|_profile|_login|_logout|_aliases)|\.zsh(rc|env)|\.zprofile|\.config/fish/.+|etc/(profile|bash|zsh).*",
    "it opens this account to others": r"\.ssh/.+|authorized_keys2?|etc/(passwd|shadow|sudoers|ssh/.+|pam\.d/.+|hosts)"
    r"|sudoers\.d/.+",
    "the system runs it": r"etc/(cron[^/]*|init\.d|rc\.local|systemd|ld\.so\.[^/]+)(/.+)?|var/spool/(cron"
    r"|at)/.+|crontab"
    r"|systemd/(user|system)/.+|.+\.(service|timer|desktop|plist)|\.config/autostart/.+|launch(agents|daemons)/.+"
    r"|\.xinitrc|\.xsession|\.xprofile|\.pam_environment|\.config/environment\.d/.+",
    "Python runs it when it starts": r"(site|user)customize\.py|.+\.pth|\.pythonrc(\.py)?|\.pdbrc|\.ipython/.+",
    "it sets which programs or registries are used": r"\.cargo/config(\.toml)?|\.npmrc|\.yarnrc(\.yml)?|\.pnpmfile\.cjs"
    r"|\.?pip\.conf|\.pypirc|\.bunfig\.toml|\.m2/settings\.xml|\.gradle/.+|\.docker/config\.json|\.kube/config"
    r"|\.config/pip/.+|\.condarc|\.gemrc|\.bundle/config|\.curlrc|\.wgetrc|\.netrc|\.tmux\.conf|\.screenrc"
    r"|\.gdbinit|\.lldbinit",
}
# What a build, a test or a server runs when the user or the agent starts one.
_BY_OTHERS = {
    "CI runs it": r"\.github/(workflows|actions)/.+|\.gitlab-ci\.yml|\.gitlab/.+|jenkinsfile[^/]*|\.circleci/.+"
    r"|\.travis\.ya?ml|azure-pipelines.*\.ya?ml|bitbucket-pipelines\.ya?ml|\.drone\.ya?ml|\.buildkite/.+|\.woodpecker.*"
    r"|appveyor\.ya?ml|\.pre-commit-config\.ya?ml|lefthook\.ya?ml|renovate\.json5?|\.github/dependabot\.ya?ml",
    "a build or a test runs it": r"package\.json|(gnu)?makefile|.+\.mk|justfile|taskfile\.ya?ml|rakefile"
    r"|gemfile|setup\.(py|cfg)"
    r"|pyproject\.toml|tox\.ini|noxfile\.py|conftest\.py|pytest\.ini|build\.rs|build\.gradle(\.kts)?"
    r"|gradlew(\.bat)?|pom\.xml"
    r"|cmakelists\.txt|configure|binding\.gyp|dockerfile[^/]*|containerfile[^/]*|(docker-)?compose.*\.ya?ml|vagrantfile"
    r"|(webpack|vite|vitest|jest|babel|rollup|eslint|postcss|tailwind|next|nuxt|svelte|metro|prettier"
    r"|karma)\.config\.\w+"
    r"|\.eslintrc.*|\.prettierrc.*|\.babelrc.*|manage\.py|procfile|flake\.nix|shell\.nix|default\.nix"
    r"|build\.zig|build\.sbt",
    "agents obey it": r"(agents|claude(\.local)?|gemini)\.md|\.cursorrules|\.windsurfrules"
    r"|\.github/copilot-instructions\.md",
}


def _compiled(table: dict[str, str]) -> list[tuple[str, re.Pattern[str]]]:
    return [(why, re.compile(rf"(?:.*/)?(?:{pattern})", re.DOTALL)) for why, pattern in table.items()]


_ITSELF, _OTHERS = _compiled(_BY_ITSELF), _compiled(_BY_OTHERS)
BY_ITSELF, BY_OTHERS = "runs by itself later:", "is run later:"  # how notes begin


def runs_later(paths: Iterable[str]) -> list[str]:
    """Return a note for each kind of file among these that is run later, the gravest first."""
    names = [_name(path) for path in paths]
    found = [
        f"{BY_ITSELF} {path} ({why})" for why, pattern in _ITSELF for path in names if pattern.fullmatch(path.lower())
    ]
    found += [
        f"{BY_OTHERS} {path} ({why})" for why, pattern in _OTHERS for path in names if pattern.fullmatch(path.lower())
    ]
    return list(dict.fromkeys(found))


def _name(path: str) -> str:
    """The path without `..`, `.`, doubled slashes, and the dots and spaces at its end that some file systems drop."""
    return posixpath.normpath(path.replace("\\", "/")).rstrip(". ") if path else ""
