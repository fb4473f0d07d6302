"""Parity cases of this family: Shikra's text, NExT-Chat's codec and SAM prompts, Ferret's region sampler.

A case gets a pack (config, inputs, `component`, `call`) and returns its outputs by name.
"""

from __future__ import annotations

from anyany_grounding import parity_next_chat, parity_regions

CASES = {**parity_regions.CASES, **parity_next_chat.CASES}
LAYOUTS = {**parity_regions.LAYOUTS, **parity_next_chat.LAYOUTS}
TOLERANCES = parity_next_chat.TOLERANCES
