"""Events: what a run tells to plugins that observe it (the hook `anyany_events`).

An event is a mapping with "event" ("run", "item" or "done") and what belongs to it. Observers cannot change a run, and
one that raises is left out from then on, with a warning.
"""

from __future__ import annotations

import warnings
from typing import Any


class Events:
    """The observers among the loaded plugins."""

    def __init__(self, manager: Any) -> None:
        self._observers = list(manager.hook.anyany_events.get_hookimpls()) if manager is not None else []

    def tell(self, event: str, **about: Any) -> None:
        """Tell all observers; `about` must be JSON-able."""
        for observer in list(self._observers):
            try:
                observer.function(**{name: {"event": event, **about} for name in observer.argnames})
            except Exception as error:
                self._observers.remove(observer)
                text = f"plugin {observer.plugin_name} observes no further: {type(error).__name__}: {error}"
                warnings.warn(text, RuntimeWarning, stacklevel=2)
