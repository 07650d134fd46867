"""Front ends find a proxy whatever is in the place of its socket, and again after its files were deleted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ccproxy_tui.core.control import instances
from ccproxy_tui.core.control.frames import Watch
from ccproxy_tui.core.control.instances import Instance
from ccproxy_tui.core.control.key import find_key, new_key
from ccproxy_tui.core.server.registration import Registration
from ccproxy_tui.core.system.paths import Paths
from tests.conftest import StartProxy, until

PORT = 8123
UNTOUCHED = b"a file of the user's"


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # where sockets go when the usual folder takes none
    return Paths.of_user()


def folder(path: Path) -> None:
    path.mkdir()
    (path / "file").write_bytes(UNTOUCHED)


def link(path: Path) -> None:
    target = path.parent.parent / "target"
    target.write_bytes(UNTOUCHED)
    path.symlink_to(target)


CLUTTER: dict[str, Callable[[Path], object]] = {
    "folder": folder,
    "file": lambda path: path.write_bytes(b"x"),
    "link": link,
    "dangling link": lambda path: path.symlink_to(path.parent.parent / "nothing"),
    "fifo": os.mkfifo,
}


@pytest.mark.parametrize("suffix", ["sock", "json", "key"])
@pytest.mark.parametrize("kind", CLUTTER)
def test_something_in_the_place_of_a_file(paths: Paths, kind: str, suffix: str) -> None:
    paths.runtime.mkdir(mode=0o700)
    CLUTTER[kind](paths.runtime / f"{PORT}.{suffix}")
    key = new_key()
    registration = Registration(paths, PORT, key)
    sock = registration.open()
    assert sock is not None
    with sock:
        registration.publish(Instance(os.getpid(), "127.0.0.1", PORT, "", "1", 1.0))
        [found] = instances.running(paths)
        assert (found.socket, find_key(paths, PORT)) == (registration.socket, key)
        assert bool(registration.problem) == (kind == "folder"), "what can be replaced is"
        assert not (paths.runtime.parent / "nothing").exists(), "no link is followed"
        registration.end()
    assert [path for path in paths.runtime.rglob("*") if path.name.startswith(str(PORT)) and kind != "folder"] == []
    for path in (paths.runtime / f"{PORT}.{suffix}" / "file", paths.runtime.parent / "target"):
        assert not path.exists() or path.read_bytes() == UNTOUCHED


def test_a_name_that_is_too_long_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    registration = Registration(Paths.of_user(), PORT, new_key())
    sock = registration.open()
    assert sock is not None
    sock.close()
    assert Path(registration.socket).parent in Paths.of_user().spare
    assert "too long" in registration.problem


@pytest.mark.parametrize("what", ["folder", "json", "key", "sock"])
async def test_what_was_deleted_is_made_again(
    paths: Paths, start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("ccproxy_tui.core.server.serve.REGISTRATION_CHECK", 0.02)
    proxy = await start_proxy()
    connected = proxy.control()
    frames = connected.frames(Watch(answers=False))
    await anext(frames)
    if what == "folder":
        shutil.rmtree(paths.runtime)
    else:
        (paths.runtime / f"{proxy.hub.port}.{what}").unlink()
    key = proxy.hub.proofs.key
    await until(lambda: [one.port for one in instances.running(paths)] == [proxy.hub.port])
    await until(lambda: find_key(paths, proxy.hub.port) == key)
    assert paths.runtime.stat().st_mode & 0o777 == 0o700
    fresh = proxy.control()
    assert (await fresh.status()).port == proxy.hub.port
    assert (await connected.status()).port == proxy.hub.port, "who is connected stays so"
    await frames.aclose()
    await connected.close()
    await fresh.close()


@pytest.mark.usefixtures("root")
async def test_a_folder_of_another_user_in_its_place_is_not_used(
    paths: Paths, start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ccproxy_tui.core.server.serve.REGISTRATION_CHECK", 0.02)
    proxy = await start_proxy()
    shutil.rmtree(paths.runtime)
    paths.runtime.mkdir(mode=0o777)
    os.chown(paths.runtime, 65534, 65534)
    later = Paths.of_user()
    assert later.runtime != paths.runtime
    await until(lambda: [one.port for one in instances.running(later)] == [proxy.hub.port])
    assert list(paths.runtime.iterdir()) == []
    assert f"because of {paths.runtime} belongs to another user" in caplog.text


@pytest.fixture
def root() -> None:
    if os.getuid() != 0:
        pytest.skip("a folder of another user needs root")
