"""Parity cases of this family: how each golden pack is run by the components here, and released layouts taken.

A case gets a pack (config, inputs, `component`, `call`) and returns its outputs by name.
"""

from __future__ import annotations

from anyany_vision import parity_vit

CASES = {**parity_vit.CASES}
LAYOUTS = {**parity_vit.LAYOUTS}
TOLERANCES = {}
