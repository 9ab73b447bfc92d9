"""How long the front door and the light commands take to start, in units of `python -c pass`.

    python -m benchmarks.startup            the figures of this installation
    python -m benchmarks.startup --modules  and what takes the time in each

The aims: `mi --help` at most 4, a light command at most 15. Each figure is the median of ratios, measured in turns
with `python -c pass`, so that a busy machine does not favour one side.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

PYTHON = sys.executable
ROUNDS = 15
AIMS = {"help": 4.0, "light": 15.0}
MI = Path(PYTHON).with_name("mi")


def lines(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """What is measured: its aim and its words."""
    scores, circuit = str(folder / "scores.jsonl"), str(folder / "circuit.jsonl")
    return {
        "mi --help": ("help", ["--help"]),
        "mi --version": ("help", ["--version"]),
        "mi prune --help": ("light", ["prune", "--help"]),
        "mi schema circuit": ("light", ["schema", "circuit"]),
        "mi view -H FILE": ("light", ["view", "-H", circuit]),
        "mi view FILE": ("light", ["view", circuit]),
        "mi log FILE": ("light", ["log", circuit]),
        "mi verify FILE": ("light", ["verify", scores]),
        "mi stamp FILE": ("light", ["stamp", circuit]),
        "mi prune FILE": ("light", ["prune", scores]),
        "mi data ioi": ("light", ["data", "ioi"]),
        "mi info": ("light", ["info"]),
    }


def seconds(words: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def ratio(words: Sequence[str]) -> tuple[float, float]:
    """Median and spread (half the range of the middle half) of what the words take over what Python takes."""
    ratios = []
    for _ in range(ROUNDS):
        before, taken, after = seconds([PYTHON, "-c", "pass"]), seconds(words), seconds([PYTHON, "-c", "pass"])
        ratios.append(2 * taken / (before + after))
    low, middle, high = statistics.quantiles(ratios, n=4)
    return middle, (high - low) / 2


def slowest(words: Sequence[str], n: int = 8) -> list[str]:
    """The modules whose own code takes longest to import."""
    done = subprocess.run(
        [PYTHON, "-X", "importtime", "-m", "mi", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    found = re.findall(r"^import time: +(\d+) \| +\d+ \| +([\w.]+)$", done.stderr, re.MULTILINE)
    return [f"{int(own) / 1000:6.1f} ms  {name}" for own, name in sorted(found, key=lambda pair: -int(pair[0]))[:n]]


def prepare(folder: Path) -> None:
    """A scores file of GPT-2 small's size, and a circuit of it."""
    import numpy as np

    from mi.circuit.transformer import transformer_graph
    from mi.io import stream

    graph = transformer_graph(12, 12, d_model=768)
    rng = np.random.default_rng(0)
    shards = rng.standard_normal((32, graph.n_edges))
    arrays = {"edge": shards.mean(axis=0).astype(np.float32), "edge_shards": shards, "shard_n": np.full(32, 4)}
    head = {"kind": "scores", "graph": graph.head(), "task": {"name": "ioi", "metric": "logit-diff"}}
    stream.write(str(folder / "scores.jsonl"), head, [], {"scores": arrays})
    subprocess.run([MI, "prune", folder / "scores.jsonl", "--top", "200", "-o", folder / "circuit.jsonl"], check=True)


def main() -> int:
    late = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        base = statistics.median(seconds([PYTHON, "-c", "pass"]) for _ in range(ROUNDS))
        print(f"python -c pass: {1000 * base:.0f} ms")
        for label, (kind, words) in lines(folder).items():
            median, spread = ratio([str(MI), *words])
            late += median > AIMS[kind]
            verdict = "" if median <= AIMS[kind] else "  TOO SLOW"
            print(f"{label:<20} {median:5.1f} ± {spread:.1f}  (aim {AIMS[kind]:g}){verdict}")
            if "--modules" in sys.argv[1:]:
                print("".join(f"    {line}\n" for line in slowest(words)), end="")
    return int(late > 0)


if __name__ == "__main__":
    sys.exit(main())
