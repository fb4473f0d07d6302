"""Cards of namespace `sources`: where a stage's records come from. Torch-free.

A source's class has `record(index) -> mapping from field to value` and, unless it is endless, `__len__`; `folder` is
where relative paths in a record start. Implementations are in the files beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyany.api.v1 import Call, Card, Config, Port, card, hookimpl, option


class JsonLinesConfig(Config):
    """A file of one JSON object a line, as `anyany run --items` takes."""

    path: str = option("", doc="the file; relative to the spec's folder")


class WebDatasetConfig(Config):
    """Shards of tar files in which the files of a record stand one after another under one name."""

    shards: tuple[str, ...] = option((), doc="tar files or globs; relative to the spec's folder")


def _read(config: Any, facts: Any) -> dict[str, Call]:
    return {"read": Call(takes={}, gives={"record": Port("text", doc="a record as JSON")})}


JSONL = card(
    "sources/jsonl",
    role="source",
    about="One JSON object a line: a field a key; media are paths beside the file.",
    source="JSON Lines (jsonlines.org)",
    config=JsonLinesConfig,
    calls=_read,
    weights=False,
    tiny={},
    impl="anyany_data.jsonl:JsonLines",
)
WEBDATASET = card(
    "sources/webdataset",
    role="source",
    about="Tar shards in WebDataset's layout: `name.png`, `name.txt`, `name.json` make one record.",
    source="webdataset/webdataset, file format",
    config=WebDatasetConfig,
    calls=_read,
    weights=False,
    tiny={},
    impl="anyany_data.webdataset:WebDataset",
)


@hookimpl
def anyany_cards() -> Sequence[Card]:
    """The components of this family."""
    return [JSONL, WEBDATASET]
