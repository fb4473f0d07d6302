"""Parity cases of this family: how each golden pack is run by the components here, and released layouts taken.

A case gets a pack (config, inputs, `component`, `call`) and returns its outputs by name.
"""

from __future__ import annotations

from anyany_vision import parity_encoders, parity_llava, parity_pix2struct, parity_vit

CASES = {**parity_vit.CASES, **parity_llava.CASES, **parity_encoders.CASES, **parity_pix2struct.CASES}
LAYOUTS = {**parity_vit.LAYOUTS, **parity_llava.LAYOUTS, **parity_encoders.LAYOUTS, **parity_pix2struct.LAYOUTS}
TOLERANCES = {**parity_llava.TOLERANCES}
