"""What implementations may use: Rows, Context, Build, Component. Needs torch; never imported by `plugin.py`.

Shape suffixes: B rows of a call, N ragged length, D width.
"""

from __future__ import annotations

from anyany.engine.component import Build, Component
from anyany.engine.context import Context
from anyany.engine.rows import Rows
from anyany.media.values import Audio, Video, to_float, to_uint8

__all__ = ["Audio", "Build", "Component", "Context", "Rows", "Video", "to_float", "to_uint8"]
