"""The pytest plugin that comes with anyany. Light: it must not slow down anybody's test run.

Loaded through the entry point group `pytest11`.
"""

from __future__ import annotations
