"""anyany: any-to-any multimodal systems from one page of YAML.

`anyany.load(spec)` checks a spec and returns a `Pipeline`; nothing heavy is imported until it runs.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs 5 ms of every start

if TYPE_CHECKING:
    from anyany.pipeline import Pipeline, load

__version__ = "0.1.0"
__all__ = ["Pipeline", "__version__", "load"]


def __getattr__(name: str) -> object:
    if name in ("load", "Pipeline"):
        from anyany import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module 'anyany' has no attribute {name!r}")
