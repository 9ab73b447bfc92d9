"""How `mi pipe` hands a stream from one stage to the next inside one process.

In: the bytes that the stage would have written, its blobs in memory. Out: the same, to the stage that follows. The text
of the stream goes through the same writer and reader as in a shell pipe, so that both give the same bytes; only the
tensors skip the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mi.io.blobs import Blob


@dataclass(frozen=True)
class Handover:
    """One stream between two stages."""

    data: bytes
    blobs: Mapping[str, Blob] = field(default_factory=dict)  # by digest


@dataclass
class Channel:
    """What a stage reads instead of stdin (`input`), and what it left instead of writing to stdout (`made`).

    `keeps_output` is False for the last stage, which writes to the real stdout or to its -o.
    """

    input: Handover | None = None
    keeps_output: bool = False
    made: Handover | None = None


_current: ContextVar[Channel | None] = ContextVar("mi channel", default=None)


def current() -> Channel | None:
    return _current.get()


def taken() -> bool:
    """True inside a stage whose output goes to the next one."""
    channel = _current.get()
    return channel is not None and channel.keeps_output


@contextmanager
def use(channel: Channel) -> Iterator[Channel]:
    """Inside the `with`, `stream.read(None)` and `stream.write(None, ...)` go through this channel."""
    token = _current.set(channel)
    try:
        yield channel
    finally:
        _current.reset(token)
