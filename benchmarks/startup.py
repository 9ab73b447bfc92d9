"""How long the front door and the light commands take, doing their work, in units of `python -c pass`.

    python -m benchmarks.startup             the figures of this installation
    python -m benchmarks.startup --cpu-time  by processor time: for a look on a busy machine
    python -m benchmarks.startup --modules   and what takes the time in each

The aims: `mi --help` at most 4, a light command at most 15. Each ratio is taken in turns with `python -c pass`, so that
a busy machine does not favour one side; the median of them is what counts. The files have GPT-2 small's graph. Modules
are compiled first, as an installation does.
"""

from __future__ import annotations

import argparse
import compileall
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PYTHON = sys.executable
MI = str(Path(PYTHON).with_name("mi"))
PACKAGE = Path(__file__).parent.parent / "mi"
AIMS = {"help": 4.0, "light": 15.0}


@dataclass(frozen=True)
class Clock:
    """Where a command is run, and which of its seconds count."""

    folder: Path
    cpu_time: bool

    def seconds(self, words: Sequence[str]) -> float:
        start = time.perf_counter()
        done = subprocess.Popen(
            words, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(done.pid, 0)
        elapsed = time.perf_counter() - start
        done.returncode = os.waitstatus_to_exitcode(status)
        if done.returncode:
            raise SystemExit(f"{' '.join(words)} ended with {done.returncode}")
        return used.ru_utime + used.ru_stime if self.cpu_time else elapsed

    def ratios(self, words: Sequence[str], rounds: int) -> list[float]:
        """What the words take over what Python takes, before and after."""
        found = []
        for _ in range(rounds):
            before, taken, after = self.unit(), self.seconds(words), self.unit()
            found.append(2 * taken / (before + after))
        return found

    def unit(self) -> float:
        return self.seconds([PYTHON, "-c", "pass"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup")
    parser.add_argument("--rounds", type=int, default=15, help="times that each line is measured (default 15)")
    parser.add_argument("--cpu-time", action="store_true", help="count processor time, not elapsed time")
    parser.add_argument("--modules", action="store_true", help="show which modules take longest to import")
    parser.add_argument("--only", nargs="+", metavar="COMMAND", help="only these commands")
    return parser.parse_args()


LINES: tuple[tuple[str, str], ...] = (
    ("help", "--help"),
    ("help", "--version"),
    ("light", "prune --help"),
    ("light", "schema circuit"),
    ("light", "prune scores.jsonl"),
    ("light", "view scores.jsonl --top 20"),
    ("light", "view circuit.jsonl"),
    ("light", "view -H circuit.jsonl"),
    ("light", "log circuit.jsonl"),
    ("light", "log --script circuit.jsonl"),
    ("light", "verify scores.jsonl"),
    ("light", "stamp circuit.jsonl"),
    ("light", "pack scores.jsonl -o packed.jsonl"),
    ("light", "data ioi"),
    ("light", "info"),
    ("light", "gc"),
    ("light", "set union circuit.jsonl circuit.jsonl"),
    ("light", "diff circuit.jsonl circuit.jsonl"),
    ("light", "check report.jsonl --baseline report.jsonl"),
    ("light", "graph circuit.jsonl --top 100 --to svg"),
    ("light", "plot curve.jsonl --to svg"),
    ("light", "report report.jsonl curve.jsonl"),
)


def prepare(folder: Path) -> None:
    """A scores file of GPT-2 small's size, and the circuit of it; reports on the embedded model."""
    import numpy as np

    from mi.circuit.transformer import transformer_graph
    from mi.io import chain, stream

    compileall.compile_dir(PACKAGE, quiet=1)
    graph = transformer_graph(12, 12, d_model=768)
    rng = np.random.default_rng(0)
    shards = rng.standard_normal((32, graph.n_edges))
    arrays = {"edge": shards.mean(axis=0).astype(np.float32), "edge_shards": shards, "shard_n": np.full(32, 4)}
    head = {"kind": "scores", "graph": graph.head(), "task": {"name": "ioi", "metric": "logit-diff"}}
    for command, *words in (("cache", "--task", "ioi"), ("attribute", "--method", "eap")):
        head = chain.record(head, chain.Invocation(command, tuple(words)))
    stream.write(str(folder / "scores.jsonl"), head, [], {"scores": arrays})
    subprocess.run([MI, "prune", "scores.jsonl", "-o", "circuit.jsonl"], cwd=folder, check=True)
    for line, made in (("! prune ! score", "report.jsonl"), ("! score", "curve.jsonl")):
        subprocess.run([MI, "pipe", f"cache -n 40 ! attribute {line}", "-o", made, "-q"], cwd=folder, check=True)


def slowest(words: Sequence[str], folder: Path, n: int = 8) -> list[str]:
    """The modules whose own code takes longest to import."""
    asked = [PYTHON, "-X", "importtime", "-m", "mi", *words]
    done = subprocess.run(asked, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    found = re.findall(r"^import time: +(\d+) \| +\d+ \| +([\w.]+)$", done.stderr, re.MULTILINE)
    return [f"{int(own) / 1000:6.1f} ms  {name}" for own, name in sorted(found, key=lambda pair: -int(pair[0]))[:n]]


def main() -> int:
    options, late = arguments(), 0
    with tempfile.TemporaryDirectory() as name:
        clock = Clock(Path(name), options.cpu_time)
        prepare(clock.folder)
        base = statistics.median(clock.unit() for _ in range(options.rounds))
        print(f"python -c pass: {1000 * base:.0f} ms{' of processor time' if options.cpu_time else ''}")
        print(f"{'':40} median  least  quartiles    aim")
        for kind, line in LINES:
            words = line.split()
            if options.only and words[0] not in options.only:
                continue
            found = clock.ratios([MI, *words], options.rounds)
            low, middle, high = statistics.quantiles(found, n=4)
            late += middle > AIMS[kind]
            verdict = "" if middle <= AIMS[kind] else "  TOO SLOW"
            print(f"mi {line:<37} {middle:6.1f} {min(found):6.1f}  {low:4.1f} {high:5.1f}  {AIMS[kind]:5g}{verdict}")
            if options.modules:
                print("".join(f"    {row}\n" for row in slowest(words, clock.folder)), end="")
    return int(late > 0)


if __name__ == "__main__":
    sys.exit(main())
