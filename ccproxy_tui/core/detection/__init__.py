"""What the installed command-line tools really send: captured from them, on this machine, at no cost."""

from ccproxy_tui.core.detection.cache import DetectionCache
from ccproxy_tui.core.detection.detector import Detector
from ccproxy_tui.core.detection.recipes import CLAUDE, CODEX, Recipe
from ccproxy_tui.core.detection.record import Detected

__all__ = ["CLAUDE", "CODEX", "Detected", "DetectionCache", "Detector", "Recipe"]
