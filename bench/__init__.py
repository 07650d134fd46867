"""Measurements, as ratios within one run. They print; they never fail a build for being slow."""
