"""Parity cases of this family: how each golden pack is run by the components here, and released layouts taken.

Tables: CASES, LAYOUTS, TOLERANCES.
"""

from __future__ import annotations

from anyany_image_heads import parity_gaussian, parity_mar, parity_prior, parity_schedulers, parity_var

CASES = {
    **parity_gaussian.CASES,
    **parity_prior.CASES,
    **parity_schedulers.CASES,
    **parity_mar.CASES,
    **parity_var.CASES,
}
LAYOUTS = {**parity_gaussian.LAYOUTS, **parity_prior.LAYOUTS, **parity_mar.LAYOUTS, **parity_var.LAYOUTS}
TOLERANCES = {**parity_gaussian.TOLERANCES, **parity_mar.TOLERANCES, **parity_var.TOLERANCES}
