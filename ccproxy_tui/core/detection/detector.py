"""Finds a tool, captures what its version sends, and keeps that; in the background, bounded in time."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ccproxy_tui.core.control.frames import DetectionView, ModelLimits
from ccproxy_tui.core.detection.cache import DetectionCache
from ccproxy_tui.core.detection.capture import CaptureFailed, CaptureServer, run_bounded
from ccproxy_tui.core.detection.catalog import read_catalog
from ccproxy_tui.core.detection.recipes import Recipe
from ccproxy_tui.core.detection.record import Detected
from ccproxy_tui.core.formats.body import read_object
from ccproxy_tui.core.system.clock import Clock
from ccproxy_tui.core.system.processes import find_program

log = logging.getLogger(__name__)

CAPTURE_SECONDS = 20.0
_VERSION_SECONDS = 10.0
_RECHECK = 3600.0
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


class Detector:
    """`chosen` is the path from the settings, or nothing. One run at a time."""

    def __init__(
        self,
        recipe: Recipe,
        cache: DetectionCache,
        clock: Clock,
        home: Path,
        environ: Mapping[str, str],
        chosen: Callable[[], Path | None] = lambda: None,
    ) -> None:
        self._recipe = recipe
        self._cache = cache
        self._clock = clock
        self._home = home
        self._environ = environ
        self._chosen = chosen
        self._turn = asyncio.Lock()
        self._loaded = False
        self._detected: Detected | None = None
        self._captured_now = False
        self.version = ""  # the installed one, once it is known
        self.problem = ""

    @property
    def tool(self) -> str:
        return self._recipe.tool

    def current(self) -> Detected | None:
        """The best capture there is: of the installed version, or the newest of another. No tool is run for it."""
        if not self._loaded:
            self._loaded = True
            self._detected = next(iter(self._cache.load(self.tool)), None)
        return self._detected

    async def keep_current(self) -> None:
        """For as long as the proxy runs: look at the version every hour, and capture when it is a new one."""
        while True:
            await self.detect()
            await asyncio.sleep(_RECHECK)

    async def detect(self, *, anew: bool = False) -> Detected | None:
        """What the installed version sends: from the cache, or captured (always, when `anew`). Never raises for a
        tool that is missing or broken: `problem` says it, and the last capture stays.
        """
        async with self._turn:
            try:
                self._detected = await self._detect(anew=anew)
                self._loaded = True
                self.problem = ""
            except CaptureFailed as failure:
                self.problem = str(failure)
                log.info("detection of %s: %s", self.tool, failure)
            except OSError as error:  # no room, or no right to write, where temporary files lie
                self.problem = f"no place to run it: {error.strerror}"
                log.warning("detection of %s: %s", self.tool, error)
        return self.current()

    async def _detect(self, *, anew: bool) -> Detected:
        binary = self._find()
        with tempfile.TemporaryDirectory(prefix="ccproxy-detect-", ignore_cleanup_errors=True) as folder:
            environ = {"HOME": folder, "PATH": self._environ.get("PATH", os.defpath), "NO_COLOR": "1"}
            output = await run_bounded([binary, "--version"], environ, Path(folder), _VERSION_SECONDS)
            self.version = self._recipe.version_of(output)
            known = next((one for one in self._cache.load(self.tool) if one.version == self.version), None)
            if known is not None and not anew:
                return known
            detected = await self._capture(binary, environ, Path(folder))
            detected = msgspec.structs.replace(detected, models=await self._models(binary, environ, Path(folder)))
        self._captured_now = True
        try:
            await asyncio.to_thread(self._cache.save, detected)
        except OSError as error:
            log.warning("the capture of %s can't be saved: %s", self.tool, error.strerror)
        return detected

    def _find(self) -> str:
        chosen = self._chosen()
        if chosen is not None:
            return str(chosen.expanduser())
        found = find_program(self.tool, self._environ.get("PATH"))
        places = [self._home / place for place in self._recipe.places]
        places += [Path("/usr/local/bin") / self.tool, Path("/opt/homebrew/bin") / self.tool]
        found = found or next((str(place) for place in places if os.access(place, os.X_OK)), None)
        if found is None:
            raise CaptureFailed(f"{self.tool} is not installed (or not on the PATH)")
        return found

    async def _capture(self, binary: str, environ: Mapping[str, str], folder: Path) -> Detected:
        server = CaptureServer(self._recipe.reply)
        port = await server.start()
        ours = f"http://127.0.0.1:{port}"
        everything_else = {
            name: ours for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (proxy, proxy.lower())
        }
        local = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        try:
            given = self._recipe.prepare(folder, port)
            await run_bounded(
                [binary, *self._recipe.arguments],
                {**environ, **everything_else, **local, **given},
                folder,
                CAPTURE_SECONDS,
            )
        except CaptureFailed:
            if not server.requests:
                raise  # a tool that hangs after it has asked has told what we want
        finally:
            server.close()
        return self._recipe.detected(server.requests, self.version, folder.name, self._clock.now())

    async def _models(self, binary: str, environ: Mapping[str, str], folder: Path) -> list[ModelLimits]:
        """What the tool knows of models by itself; nothing when it can't say."""
        if not self._recipe.catalog:
            return []
        try:
            printed = await run_bounded([binary, *self._recipe.catalog], environ, folder, _VERSION_SECONDS)
        except CaptureFailed as failure:
            log.info("models of %s: %s", self.tool, failure)
            return []
        return read_catalog(read_object(printed))

    def clear(self) -> int:
        """Forget every capture. How many files are gone. Raises OSError."""
        self._detected, self._captured_now = None, False
        return self._cache.clear(self.tool)

    def view(self) -> DetectionView:
        detected = self.current()
        if detected is None:
            state = "detecting" if self._turn.locked() else "nothing captured"
            return DetectionView(self.tool, state, self.version, problem=self.problem)
        before = self._cache.before(detected)
        return DetectionView(
            self.tool,
            self._state(detected),
            self.version,
            captured_version=detected.version,
            captured=detected.captured,
            headers=detected.headers,
            instructions=detected.text,
            shape=detected.shape,
            digest=detected.digest,
            model=detected.model,
            file=str(self._cache.path(detected.tool, detected.version)),
            before_version=before.version if before else "",
            before=before.text if before else "",
            problem=self.problem,
        )

    def _state(self, detected: Detected) -> str:
        if self._turn.locked():
            return "detecting"
        if self.version and self.version != detected.version:
            return f"stale: {detected.version} was captured, {self.version} is installed"
        if not self.version:
            return "from the cache, not checked"
        return "captured" if self._captured_now else "from the cache"
