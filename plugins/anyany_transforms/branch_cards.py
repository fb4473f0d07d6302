"""Cards of transforms/route, transforms/windows and transforms/join-spans. Torch-free.

Implementations: route.py, windows.py.
"""

from __future__ import annotations

from typing import Any

from anyany.api.v1 import Call, Card, Config, Port, card, option, var


class RouteConfig(Config):
    """Where values may go."""

    to: tuple[str, ...] = option(doc="names of the outputs: the labels that lead to them")
    otherwise: str = option("", doc="the one of them that takes all other labels; without it they are an error")

    def __post_init__(self) -> None:
        if not self.to or len(set(self.to)) != len(self.to):
            raise ValueError("`to` names the outputs, each once")
        odd = next((name for name in self.to if not name.isidentifier()), None)
        if odd is not None:
            raise ValueError(f"an output is named with letters, digits and _, not {odd!r}")
        if self.otherwise and self.otherwise not in self.to:
            raise ValueError(f"`otherwise` is one of {', '.join(self.to)}, not {self.otherwise!r}")


def route_calls(config: Any, facts: Any) -> dict[str, Call]:
    takes = {"value": Port("any", doc="what is sent"), "label": Port("label|text", doc="its class")}
    return {"route": Call(takes=takes, gives={name: Port("any?", doc=f"what is a {name}") for name in config.to})}


ROUTE = card(
    "transforms/route",
    role="transform",
    about="Each value to the output named like its label: charts to one encoder, photos to another.",
    config=RouteConfig,
    calls=route_calls,
    impl="anyany_transforms.route:Route",
    weights=False,
    tiny={"to": ("a", "b")},
)


class WindowsConfig(Config):
    """How a sound is cut."""

    seconds: float = option(30.0, low=0.2, doc="length of a window")
    overlap: float = option(0.0, low=0.0, doc="how much of it the next one hears again")

    def __post_init__(self) -> None:
        if self.overlap >= self.seconds:
            raise ValueError(f"windows of {self.seconds:g} s cannot overlap by {self.overlap:g} s")


WINDOWS = card(
    "transforms/windows",
    role="transform",
    about="A long sound as a list of shorter ones, and where each stands in it; silent ones are left out.",
    config=WindowsConfig,
    calls={
        "cut": Call(
            takes={"audio": Port("audio", rate=var("rate"), doc="a sound of any length")},
            gives={
                "windows": Port("audio*", rate=var("rate"), doc="in order"),
                "places": Port("spans", doc="when each begins and ends"),
            },
        )
    },
    impl="anyany_transforms.windows:Windows",
    weights=False,
    tiny={"seconds": 0.5},
)

JOIN_SPANS = card(
    "transforms/join-spans",
    role="transform",
    about="Timed texts of the windows of a sound as timed text of the whole.",
    calls={
        "join": Call(
            takes={"spans": Port("spans*", doc="what was heard in each window"),
                   "places": Port("spans", doc="where the windows stand")},
            gives={"spans": Port("spans", doc="in time of the whole"), "text": Port("text", doc="without times")},
        )
    },
    impl="anyany_transforms.windows:JoinSpans",
    weights=False,
    tiny={},
)  # fmt: skip

CARDS: list[Card] = [ROUTE, WINDOWS, JOIN_SPANS]
