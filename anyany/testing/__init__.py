"""What plugin authors test with: `conformance("acme/dino")` and the names of its `CHECKS`.

Light until used; torch is imported by the checks themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anyany.testing.kit import CHECKS, ConformanceError, conformance

__all__ = ["CHECKS", "ConformanceError", "conformance"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'anyany.testing' has no attribute {name!r}")
    from anyany.testing import kit

    return getattr(kit, name)
