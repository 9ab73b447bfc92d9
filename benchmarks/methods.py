"""Every method of attribution on the embedded model and on the planted circuit, as the table of docs/methods.md.

    python -m benchmarks.methods > table.md

Each method is run as a user would, through `mi`. Seconds (of processor time) and memory are those of `mi attribute`
beyond those of `mi cache` on the same examples, which loads the same model. CPR and CMD are of the curve on validation
prompts; AUROC ranks the planted circuit's edges by magnitude, all three truths counted alike.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from mi.core.methods import METHODS

TRUTHS = ("context-swap", "answer-swap", "query-swap")
TASKS = ("ioi", "greater-than", "pronoun", "induction")


@dataclass(frozen=True)
class Cost:
    seconds: float
    mebibytes: float

    def __sub__(self, other: Cost) -> Cost:
        return Cost(max(0.0, self.seconds - other.seconds), max(0.0, self.mebibytes - other.mebibytes))


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        print("| method | CPR | CMD | AUROC planted | ACDC's | MIB's | seconds | MiB |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for task in TASKS:
            mi("cache", "--task", task, "-o", f"{task}.jsonl")
        for truth in TRUTHS:
            planted = ("cache", "-m", "planted", "--task", "induction", "--counterfactual", truth, "-n", "20")
            mi(*planted, "-o", f"planted-{truth}.jsonl")
        base = mi("cache", "--task", "ioi", "-o", "again.jsonl")
        for name in [name for name, method in METHODS.items() if "edge" in method.levels]:
            print(row(name, base), flush=True)


def row(name: str, base: Cost) -> str:
    areas: dict[str, list[float]] = {"cpr": [], "cmd": []}
    costs = []
    for task in TASKS:
        costs.append(mi("attribute", f"{task}.jsonl", "--method", name, "-o", "scores.jsonl") - base)
        mi("score", "scores.jsonl", "-o", "curve.jsonl")
        for key, value in summaries("curve.jsonl", tuple(areas)).items():
            areas[key].append(value)
    found: dict[str, list[float]] = {"auroc": [], "auroc-pessimistic": [], "auroc-mib": []}
    for truth in TRUTHS:
        mi("attribute", f"planted-{truth}.jsonl", "--method", name, "-o", "planted.jsonl")
        mi("eval", "ground-truth", "planted.jsonl", "--resamples", "0", "-o", "truth.jsonl")
        for key, value in summaries("truth.jsonl", tuple(found)).items():
            found[key].append(value)
    numbers = [f"{mean(values):.3f}" for values in (*areas.values(), *found.values())]
    numbers += [f"{mean(cost.seconds for cost in costs):.1f}", f"{max(cost.mebibytes for cost in costs):.0f}"]
    return f"| `{name}` | {' | '.join(numbers)} |"


def summaries(path: str, names: tuple[str, ...]) -> dict[str, float]:
    records = map(json.loads, Path(path).read_text().splitlines())
    return {r["summary"]: r["value"] for r in records if r.get("summary") in names}


def mi(*words: str) -> Cost:
    """Run one command, with work done even if it was done before."""
    fresh = [] if words[0] == "eval" else ["--fresh"]
    process = subprocess.Popen([sys.executable, "-m", "mi", *words, *fresh, "-q"], stdin=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"mi {' '.join(words)} ended with {process.returncode}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
