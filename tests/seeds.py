"""The fresh seed of a run: new every time, the same in every worker process, repeatable with MI_TEST_SEED=N."""

from __future__ import annotations

import os
import random

# The first process to come here chooses; the workers of pytest-xdist inherit the choice, so that all collect the same.
FRESH = int(os.environ.setdefault("MI_TEST_SEED", str(random.SystemRandom().randrange(10**6))))
