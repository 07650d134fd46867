"""The terminal in which a developer sees and answers their coding agents."""

__version__ = "0.1.0"
