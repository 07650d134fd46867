"""Settings: order, merging, origins, messages, and writing."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from ccproxy_tui.core.settings import SettingsError, entries, load
from ccproxy_tui.core.settings.edit import edited, parse_value, set_values, template
from ccproxy_tui.core.settings.sources import key_lines
from ccproxy_tui.core.settings.trust import TrustStore
from ccproxy_tui.core.system.paths import Paths


def env(**values: str) -> dict[str, str]:
    return {"HOME": str(Path.home()), **values}


def trust(*files: Path) -> None:
    for file in files:
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        TrustStore(Paths.of_user(env())).trust(file.absolute(), digest, {}, 0.0)


def user_file(text: str) -> Path:
    path = Path.home() / ".config" / "ccproxy" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_flag_beats_the_environment_which_beats_dotenv_which_beats_toml() -> None:
    user_file("[server]\nport = 1\nhost = 'from-toml'\n")
    Path(".env").write_text("SERVER__PORT=2\nSERVER__DRAIN_SECONDS=2\n")
    trust(Path(".env"))
    flags = {"--port": (("server", "port"), "4")}
    assert load(environ=env()).settings.server.port == 2
    assert load(environ=env(SERVER__PORT="3")).settings.server.port == 3
    loaded = load(environ=env(SERVER__PORT="3"), flags=flags)
    assert loaded.settings.server.port == 4
    # One flag replaces one value and nothing else of its table.
    assert (loaded.settings.server.host, loaded.settings.server.drain_seconds) == ("from-toml", 2)


def test_each_value_knows_where_it_came_from() -> None:
    path = user_file("# comment\n[server]\n\nhost = 'x'\n")
    Path(".env").write_text("# c\nexport LOGGING__LEVEL=debug\n")
    loaded = load(environ=env(server__port="3"), flags={"-p": (("ui", "mouse"), "false")})
    origins = {entry.key: entry.origin for entry in entries(loaded.settings, loaded.origins)}
    assert origins["server.host"] == f"file {path}:4"
    assert origins["logging.level"] == ".env .env:2 LOGGING__LEVEL"
    assert origins["server.port"] == "env server__port"
    assert origins["ui.mouse"] == "flag -p"
    assert origins["server.drain_seconds"] == "default"


def test_toml_files_are_merged_nearest_first() -> None:
    user_file("[server]\nport = 1\ndrain_seconds = 1\n")
    repository = Path.home() / "repo"
    (repository / ".git").mkdir(parents=True)
    (repository / "ccproxy.toml").write_text("[server]\nport = 2\nstall_seconds = 2\n")
    inner = repository / "sub"
    inner.mkdir()
    (inner / ".ccproxy.toml").write_text("[server]\nstall_seconds = 3\n")
    trust(repository / "ccproxy.toml", inner / ".ccproxy.toml")
    server = load(environ=env(), cwd=inner).settings.server
    assert (server.port, server.drain_seconds, server.stall_seconds) == (2, 1, 3)


def test_a_named_file_is_the_only_one() -> None:
    user_file("[server]\nport = 1\n")
    chosen = Path("chosen.toml")
    chosen.write_text("[server]\ndrain_seconds = 9\n")
    for loaded in (load(environ=env(), config=chosen), load(environ=env(CONFIG_FILE=str(chosen)))):
        assert (loaded.settings.server.port, loaded.settings.server.drain_seconds) == (8000, 9)


def test_a_named_file_that_is_not_there_is_an_error() -> None:
    with pytest.raises(SettingsError, match="no such file"):
        load(environ=env(), config=Path("nowhere.toml"))


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SERVER__PORT", "abc", "server.port (env SERVER__PORT): "),
        ("SERVER__PORT", "70000", "less than or equal to 65535"),
        ("UI__ON_QUIT", "maybe", "'ask', 'stop' or 'leave'"),
        ("SECURITY__AUTH_TOKEN", "with space", "without spaces"),
        ("PROVIDERS__CLAUDE_API__BASE_URL", "ftp://x", "http:// or https://"),
    ],
)
def test_a_bad_value_is_named_with_its_variable_and_what_is_allowed(variable: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ=env(**{variable: value}))
    assert words in str(caught.value)
    assert variable in str(caught.value)


def test_a_bad_value_in_a_file_is_named_with_its_line() -> None:
    path = user_file("[ui]\n\ntheme = 'dark'\nframe_hz = 'fast'\n")
    with pytest.raises(SettingsError, match=f"{path}:4"):
        load(environ=env())


def test_every_problem_is_said_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ=env(SERVER__PORT="x", UI__MOUSE="perhaps"))
    assert len(caught.value.problems) == 2


def test_a_file_that_is_not_toml_is_named() -> None:
    path = user_file("[server\n")
    with pytest.raises(SettingsError, match=f"{path}.*not valid TOML"):
        load(environ=env())


def test_unknown_keys_are_named_with_the_nearest_one_and_do_not_stop_the_start() -> None:
    path = user_file("[server]\nprot = 1\n[nonsense]\nx = 1\n")
    warnings = [str(warning) for warning in load(environ=env()).warnings]
    assert warnings[0] == f"server.prot (file {path}:2): no such setting; did you mean server.port?"
    assert warnings[1].startswith(f"nonsense.x (file {path}:4): no such setting")


def test_old_names_move_and_old_settings_without_effect_say_why() -> None:
    loaded = load(
        environ=env(SERVER__LOG_LEVEL="debug", DOCKER__DOCKER_IMAGE="x", PLUGINS__CLAUDE_API__BASE_URL="http://u")
    )
    assert loaded.settings.logging.level == "DEBUG"
    assert loaded.settings.providers.claude_api.base_url == "http://u"
    assert [str(w) for w in loaded.warnings] == [
        "docker.docker_image (env DOCKER__DOCKER_IMAGE): has no effect here: containers are started by your own tools"
    ]


def test_variables_of_other_programs_are_left_alone() -> None:
    loaded = load(environ=env(SERVER="web", UI="x", LOGGING="", SOME__OTHER="1", __X="1"))
    assert loaded.warnings == []
    assert loaded.settings.server.port == 8000


def test_lists_may_be_json_or_comma_separated() -> None:
    assert load(environ=env(CORS__ORIGINS="a, b")).settings.cors.origins == ["a", "b"]
    assert load(environ=env(CORS__ORIGINS='["a"]')).settings.cors.origins == ["a"]


def test_secrets_are_masked_in_every_listing() -> None:
    loaded = load(environ=env(SECURITY__AUTH_TOKEN="hush-hush"))
    assert "hush" not in repr(entries(loaded.settings, loaded.origins))
    assert "hush" not in repr(loaded.settings)


def test_the_line_of_each_key_is_found() -> None:
    text = "a = 1\n[b]\n# x = 1\nc = 2\n'd' = 3\n[b.e]\nf.g = 4\n"
    lines = key_lines(text)
    assert [lines[path] for path in [("a",), ("b", "c"), ("b", "d"), ("b", "e", "f", "g")]] == [1, 4, 5, 7]


# --- writing ---

FILE = """# my settings
[server]
port = 8001  # the port
# about the host
host = "127.0.0.1"

[ui.keys]
"app.help" = "f1"
"""


def test_writing_keeps_comments_order_and_everything_else() -> None:
    text = edited(FILE, {("server", "port"): 8002, ("server", "drain_seconds"): 3.0}, Path("x"))
    assert text == FILE.replace("8001", "8002").replace(
        'host = "127.0.0.1"\n', 'host = "127.0.0.1"\ndrain_seconds = 3.0\n'
    )


def test_a_new_table_is_added_at_the_end() -> None:
    assert edited("# top\n", {("security", "auth_token"): "t"}, Path("x")) == '# top\n\n[security]\nauth_token = "t"\n'


def test_none_removes_a_key() -> None:
    assert "port" not in edited("[server]\nport = 1\n", {("server", "port"): None}, Path("x"))


@pytest.mark.parametrize("change", [{("server", "port"): 99999}, {("server", "nothing"): 1}, {("ui", "theme"): [1]}])
def test_what_is_not_allowed_is_refused_and_the_file_stays(change: dict[tuple[str, ...], object]) -> None:
    path = user_file(FILE)
    with pytest.raises(SettingsError):
        set_values(path, change)
    assert path.read_text() == FILE


def test_a_broken_file_is_not_replaced() -> None:
    path = user_file("[broken\n")
    with pytest.raises(SettingsError, match="not valid TOML"):
        set_values(path, {("server", "port"): 1})
    assert path.read_text() == "[broken\n"


def test_a_new_file_is_private_and_an_old_one_keeps_its_mode() -> None:
    new = Path.home() / "new.toml"
    set_values(new, {("server", "port"): 1})
    assert new.stat().st_mode & 0o777 == 0o600
    old = user_file(FILE)
    old.chmod(0o640)
    set_values(old, {("server", "port"): 1})
    assert old.stat().st_mode & 0o777 == 0o640


def test_a_symlink_stays_and_its_target_is_written() -> None:
    target = Path.home() / "dotfiles.toml"
    target.write_text(FILE)
    link = Path.home() / "link.toml"
    link.symlink_to(target)
    set_values(link, {("server", "port"): 4})
    assert link.is_symlink()
    assert "port = 4" in target.read_text()


def test_a_place_that_can_not_be_written_is_an_os_error() -> None:
    (Path.home() / "a-file").write_text("")
    with pytest.raises(OSError, match=r"exists|directory"):
        set_values(Path.home() / "a-file" / "x.toml", {("server", "port"): 1})


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        (("server", "port"), "77", 77),
        (("ui", "mouse"), "no", False),
        (("cors", "origins"), "a, b", ["a", "b"]),
        (("logging", "level"), "debug", "DEBUG"),
        (("logging", "file"), "/x/y", "/x/y"),
    ],
)
def test_typed_text_becomes_the_settings_own_type(key: tuple[str, ...], text: str, value: object) -> None:
    assert parse_value(key, text) == value


def test_the_template_has_every_setting_and_is_valid_when_uncommented() -> None:
    text = template()
    path = Path("all.toml")
    path.write_text(re.sub(r"^# ([a-z_]+ = )", r"\1", text, flags=re.MULTILINE))
    loaded = load(environ=env(), config=path)
    assert loaded.warnings == []
    assert loaded.settings.server.port == 8000
