"""The flagless line against the least that it could take: its three torch stages importing their libraries at once."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.clock import Ratio, of_times, seconds

LINE = "mi cache </dev/null | mi attribute | mi prune | mi score >/dev/null"
IMPORTS = "import torch, nnsight, transformers"


def measure(pairs: int) -> dict[str, Ratio]:
    """Once with an empty store each time, once with what an earlier run left there."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"

        def line(remember: bool) -> None:
            own = store if remember else Path(tempfile.mkdtemp(dir=folder))
            command = ["bash", "-o", "pipefail", "-c", LINE]
            subprocess.run(command, check=True, cwd=folder, env=_environment(own), stderr=subprocess.DEVNULL)

        line(remember=True)
        found = {}
        for name, remember in (("empty store", False), ("remembered", True)):
            units, works = [seconds(_imports)], []
            for _ in range(pairs):
                works.append(seconds(lambda remember=remember: line(remember)))  # type: ignore[misc]
                units.append(seconds(_imports))
            found[name] = of_times(units, works)
        return found


def _environment(store: Path) -> dict[str, str]:
    beside = str(Path(sys.executable).parent)
    return {**os.environ, "MI_STORE": str(store), "PATH": beside + os.pathsep + os.environ.get("PATH", "")}


def _imports() -> None:
    one = f"{shlex.quote(sys.executable)} -c {shlex.quote(IMPORTS)}"
    subprocess.run(["bash", "-c", f"{one} & {one} & {one} & wait"], check=True)
