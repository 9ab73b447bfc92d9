"""`python -m benchmarks`: times and memory as a table on stdout and as JSON in a file."""

from __future__ import annotations

import argparse
import json
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import clock, line, memory, rows, subject
from benchmarks.rows import CIRCUIT, ELEVEN, ONE_MORE_ROW, ROWS, Row

Found = dict[str, Any]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["10x20", "32x64"], help="prompts x tokens")
    parser.add_argument("--rows", nargs="+", choices=[row.name for row in ROWS], help="only these")
    parser.add_argument("--pairs", type=int, default=7, help="times that each row is measured (default 7)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="count processor time: for a look on a busy machine")
    parser.add_argument("--layers", type=int, default=12, help="fewer for a quick look; targets are for 12")
    parser.add_argument("--only", choices=["time", "memory", "line"], help="one part")
    parser.add_argument("-o", "--output", type=Path, default=Path("build/bench.json"))
    return parser.parse_args()


def times(options: argparse.Namespace, chosen: list[Row]) -> list[Found]:
    import torch

    torch.set_num_threads(options.threads)
    plain = subject.random_gpt2(options.layers)  # the unit runs untouched, on the library's own attention
    model = subject.wrapped(subject.random_gpt2(options.layers))
    ticks = time.process_time if options.cpu_time else time.perf_counter
    found: list[Found] = []
    for text in options.sizes:
        size = subject.parse(text)
        sharpness = subject.evenness(plain, size)
        assert sharpness > 5 / size.tokens, f"attention is nearly uniform: {sharpness:.3f}"
        pairs, unit = subject.examples(size), rows.forward(plain, size)
        print(f"\n{text}: T = one forward of the plain model; the last token's largest attention is {sharpness:.2f}")
        print(f"{'':28}{'T':>8}{'quartiles':>16}{'seconds':>10}{'target':>8}{'aim':>6}")
        measured: dict[str, clock.Ratio] = {}
        for row in chosen:
            measured[row.name] = clock.ratio(unit, row.make(model, pairs), options.pairs, clock=ticks)
            show_time(row, measured[row.name], text)
            found.append({"size": text, "row": row.name, "sharpness": sharpness, **measured[row.name].as_json()})
        if CIRCUIT in measured and ELEVEN in measured:
            more = (measured[ELEVEN].median - measured[CIRCUIT].median) / 10
            marked = mark(more, ONE_MORE_ROW.target, text)
            goals = f"{ONE_MORE_ROW.target:>8}{ONE_MORE_ROW.aim:>6}" if text == "10x20" else ""
            print(f"{ONE_MORE_ROW.name:28}{more:8.2f}{'':16}{'':10}{goals} {marked}")
            found.append({"size": text, "row": ONE_MORE_ROW.name, "median": more, "from": [CIRCUIT, ELEVEN]})
    return found


def show_time(row: Row, ratio: clock.Ratio, size: str) -> None:
    goals = f"{row.target or '':>8}{row.aim or '':>6}" if size == "10x20" else ""
    spread = f"{ratio.low:.2f}..{ratio.high:.2f}"
    marked = mark(ratio.median, row.target, size)
    print(f"{row.name:28}{ratio.median:8.2f}{spread:>16}{ratio.work_seconds:10.3f}{goals} {marked}", flush=True)


def mark(value: float, target: float | None, size: str) -> str:
    return "" if target is None or size != "10x20" else "ok" if value <= target else "MISSED"


def memories(options: argparse.Namespace, chosen: list[Row]) -> list[Found]:
    found: list[Found] = []
    for text in options.sizes:
        unit = memory.measure(memory.UNIT, text, options.threads, options.layers)
        print(f"\n{text}: memory beyond the model; forward and backward to the embeddings need {unit / 2**20:.0f} MiB")
        print(f"{'':28}{'ratio':>8}{'MiB':>8}{'target':>8}")
        found.append({"size": text, "row": memory.UNIT, "bytes": unit})
        for row in chosen:
            if row.name == ELEVEN:
                continue
            need = memory.measure(row.name, text, options.threads, options.layers)
            goal = f"{row.memory:>8}" if text == "10x20" else ""
            marked = mark(need / unit, row.memory, text)
            print(f"{row.name:28}{need / unit:8.2f}{need / 2**20:8.0f}{goal} {marked}", flush=True)
            found.append({"size": text, "row": row.name, "bytes": need, "ratio": need / unit})
    return found


def lines(options: argparse.Namespace) -> list[Found]:
    print(f"\n{line.LINE}\nagainst three processes that run `{line.IMPORTS}` at once")
    found: list[Found] = []
    for name, ratio in line.measure(options.pairs).items():
        more = ratio.work_seconds - ratio.unit_seconds
        goal = "target +1.0" if name == "empty store" else ""
        print(f"{name:28}{ratio.work_seconds:8.2f} s, imports {ratio.unit_seconds:.2f} s: {more:+.2f} s  {goal}")
        found.append({"row": f"flagless line, {name}", "seconds_more": more, **ratio.as_json()})
    return found


def main() -> None:
    options = arguments()
    chosen = [row for row in ROWS if not options.rows or row.name in options.rows]
    parts = {"time": lambda: times(options, chosen), "memory": lambda: memories(options, chosen)}
    parts["line"] = lambda: lines(options)
    results = {name: part() for name, part in parts.items() if options.only in (None, name)}
    machine = {"machine": platform.machine(), "system": platform.system(), "python": platform.python_version()}
    libraries = {name: version(name) for name in ("torch", "transformers", "nnsight")}
    settings = {
        "threads": options.threads,
        "layers": options.layers,
        "pairs": options.pairs,
        "cpu_time": options.cpu_time,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    document = {"on": {**machine, **libraries, **settings}, **results}
    options.output.write_text(json.dumps(document, indent=1) + "\n")
    print(f"\nwritten: {options.output}")


if __name__ == "__main__":
    main()
