"""How much memory a piece of work needs beyond the loaded model: a fresh process for each, Linux only.

`python -m benchmarks.memory "EAP" 10x20` prints the bytes. The peak is the kernel's own high-water mark, reset when the
model is loaded; nothing is run before it, so first-time costs of the libraries count, here as in the unit.
"""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

UNIT = "forward + backward"


def measure(name: str, size: str, threads: int, layers: int) -> int:
    """Bytes, from a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", name, size, str(threads), str(layers)]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(found.stdout.split()[-1])


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def reset() -> int:
    """Forget this process's high-water mark; its size now."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    return before


def grown(before: int) -> int:
    """The high-water mark since then, beyond the size at the time."""
    return _status("VmHWM") - before


def _peak_of(name: str, size: str, layers: int) -> int:
    from benchmarks import rows, subject

    batch = subject.parse(size)
    module = subject.random_gpt2(layers)
    if name == UNIT:
        work = rows.forward_backward(module, batch)
    else:
        row = next(row for row in rows.ROWS if row.name == name)
        work = row.make(subject.wrapped(module), subject.examples(batch))
    gc.collect()
    before = reset()
    kept = work()
    peak = grown(before)
    del kept
    return peak


if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(sys.argv[3]))
    print(_peak_of(sys.argv[1], sys.argv[2], int(sys.argv[4])))
