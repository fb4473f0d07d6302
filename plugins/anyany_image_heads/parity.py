"""Parity cases of this family: how each golden pack is run by the components here, and released layouts taken.

Tables: CASES, LAYOUTS, TOLERANCES.
"""

from __future__ import annotations

from anyany_image_heads import parity_gaussian

CASES = {**parity_gaussian.CASES}
LAYOUTS = {**parity_gaussian.LAYOUTS}
TOLERANCES = {**parity_gaussian.TOLERANCES}
