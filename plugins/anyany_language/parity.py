"""Parity cases of this family: how each golden pack is run by the components here, and released layouts taken.

A case gets a pack (config, inputs, `component`, `call`) and returns its outputs by name.
Tables: CASES, LAYOUTS, TOLERANCES.
"""

from __future__ import annotations

from anyany_language import parity_flamingo, parity_sequences

CASES = {**parity_flamingo.CASES, **parity_sequences.CASES}
LAYOUTS = {**parity_flamingo.LAYOUTS, **parity_sequences.LAYOUTS}
TOLERANCES = {}
