"""Widgets on Textual's line API: they repaint the lines that changed and nothing else."""
