"""Parity cases of this family: how each golden pack is run by the components here, and released layouts taken.

A case gets a pack (config, inputs, `component`, `call`) and returns its outputs by name.
"""

from __future__ import annotations

from anyany_vision import parity_encoders, parity_imagebind, parity_llava, parity_pix2struct, parity_vit

_PARTS = (parity_vit, parity_llava, parity_encoders, parity_pix2struct, parity_imagebind)
CASES = {key: case for part in _PARTS for key, case in part.CASES.items()}
LAYOUTS = {key: layout for part in _PARTS for key, layout in part.LAYOUTS.items()}
TOLERANCES = {**parity_llava.TOLERANCES, **parity_imagebind.TOLERANCES}
