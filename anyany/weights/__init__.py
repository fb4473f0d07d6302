"""Weights: where they come from (sources, hub, lock), what they hold (headers, facts), how they are loaded.

Importing this package loads no torch: only `load`, `random_init`, `pretrained` and `convert` need it.
"""
