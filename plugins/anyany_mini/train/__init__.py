"""Retrains the bundled weights: `python -m anyany_mini.train all`."""
