"""Parity cases of this family: how each golden pack is run by the components here, and released layouts taken.

A case gets a pack (config, inputs, `component`, `call`) and returns its outputs by name.
Tables: CASES, LAYOUTS, TOLERANCES.
"""

from __future__ import annotations

from anyany_adapters import parity_nextgpt, parity_qformer, parity_sets

CASES = {**parity_qformer.CASES, **parity_sets.CASES, **parity_nextgpt.CASES}
LAYOUTS = {**parity_qformer.LAYOUTS, **parity_nextgpt.LAYOUTS}
TOLERANCES = {**parity_qformer.TOLERANCES}
