"""Wait for a sign that something has happened, instead of for a time that is right on one machine."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

LONGEST = 60.0  # seconds: no machine is that slow; a test that waits as long has failed


def until(sign: Callable[[], Any], what: str, process: subprocess.Popen[Any] | None = None) -> None:
    """Return when `sign()` is true. The test fails if `process` ends before that, or if it never comes."""
    end = time.monotonic() + LONGEST
    while not sign():
        if process is not None and process.poll() is not None:
            if sign():
                return
            pytest.fail(f"the process ended with {process.returncode} before {what}")
        if time.monotonic() > end:
            pytest.fail(f"{what}: not seen in {LONGEST:.0f} s")
        time.sleep(0.001)


@contextmanager
def killed(words: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process that does not outlive the block, however the block ends."""
    process = subprocess.Popen(words, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def a_moment(rng: random.Random, longest: float) -> None:
    """Any instant will do: what is tested then must hold at all of them."""
    time.sleep(rng.uniform(0, longest))
