"""Progress on stderr: a bar on a terminal, a line every 30 seconds otherwise, nothing with -q.

with progress(len(batches), "attribute") as bar:
    for batch in batches:
        ...
        bar.advance(len(batch))
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from types import TracebackType

from mi.show.notes import note, voice

BAR = 24  # cells
REDRAW = 0.1  # seconds between two drawings of the bar
SPEAK = 30.0  # seconds between two lines where there is no terminal


class Progress:
    """How far one piece of work has come. `total` None: the end is not known."""

    def __init__(self, total: int | None, label: str) -> None:
        self.total, self.label = total, label
        self.done: float = 0
        self.quiet = voice.get().quiet or sys.stderr is None
        self.terminal = not self.quiet and sys.stderr.isatty()
        self.start = self.last = time.monotonic()
        self.drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.drawn:  # leave a clean line behind
            _write("\r\x1b[K")

    def advance(self, n: float = 1) -> None:
        """Something is done; a part of one thing counts as a part."""
        self.done += n
        if self.quiet:
            return
        now = time.monotonic()
        if now - self.last < (REDRAW if self.terminal else SPEAK):
            return
        self.last = now
        if self.terminal:
            self.drawn = True
            _write(f"\r\x1b[K{self.text(now)}")
        else:
            note(self.text(now))

    def text(self, now: float) -> str:
        elapsed = now - self.start
        if not self.total:
            return f"{self.label} {self.done:.0f} in {_clock(elapsed)}"
        part = min(1.0, self.done / self.total)
        left = _clock(elapsed * (1 - part) / part) if part else "?"
        cells = round(part * BAR)
        bar = f" [{'#' * cells}{'.' * (BAR - cells)}]" if self.terminal else ""
        return f"{self.label}{bar} {int(self.done + 1e-6)}/{self.total}, {_clock(elapsed)} gone, {left} left"


def progress(total: int | None, label: str) -> Progress:
    return Progress(total, label)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _write(text: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(text)
        sys.stderr.flush()
