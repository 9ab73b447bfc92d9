"""Ports for processes that are to find each other."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

BELOW = (20_000, 32_000)  # systems give ports above these to whoever connects, as processes that work together do


def free_ports(n: int) -> list[int]:
    """Ports that nobody listens on, and that nobody is given by chance."""
    found: list[int] = []
    with ExitStack() as held:
        for port in random.SystemRandom().sample(range(*BELOW), BELOW[1] - BELOW[0]):
            own = held.enter_context(socket.socket())
            try:
                own.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
            if len(found) == n:
                break
    return found
