"""The main line as processes: the literal line, signals, full disks, little memory, two at once. Each starts torch.

At most 25 processes of the whole suite do that: `torch_process` counts them.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from mi.io import blobs, stream
from tests import waiting
from tests.line.conftest import Session, Shell, Start, refused, write_ids

# `mi` that tells every step of its work on stderr, and not only what it has come to after half a minute.
TALKING = "from mi.show import progress; progress.SPEAK = 0; from mi.__main__ import entry; entry()"


@pytest.mark.torch_process(3)
def test_the_literal_line_gives_the_bytes_of_one_process(mi: Session, sh: Shell, tmp_path: Path) -> None:
    """Whatever the folder, the hash seed and the umask. Both do the work: the stores are empty."""
    inside = mi("pipe", "cache ! attribute ! prune ! score").ok().out
    (tmp_path / "elsewhere").mkdir()
    done = sh(
        f"cd '{tmp_path / 'elsewhere'}'; umask 077; mi cache </dev/null | mi attribute | mi prune | mi score",
        torch=3,
        env={"PYTHONHASHSEED": "7", "MI_STORE": str(tmp_path / "another store")},
    )
    assert done.code == 0, done.err
    assert done.out == inside
    assert "Traceback" not in done.err


@pytest.mark.torch_process(3)
def test_the_script_of_a_result_makes_it_again(mi: Session, sh: Shell, tmp_path: Path) -> None:
    mi("data", "ioi", "-n", "8", "--seed", "3", "-o", "ioi.jsonl").ok()
    line = "cache --data ioi.jsonl ! attribute --steps 3 ! prune --percent 20 --signed ! score"
    mi("pipe", line, "-o", "report.jsonl").ok()
    Path("again.sh").write_bytes(mi("log", "--script", "report.jsonl").ok().out)
    done = sh("bash again.sh", torch=3, env={"MI_STORE": str(tmp_path / "another store")})
    assert done.code == 0, done.err
    assert done.out == Path("report.jsonl").read_bytes()
    Path("ioi.jsonl").write_bytes(mi("data", "ioi", "-n", "8", "--seed", "4").ok().out)
    stopped = sh("bash again.sh")
    assert stopped.code != 0
    assert "ioi.jsonl" in stopped.err
    assert stopped.out == b""


@pytest.mark.torch_process(2)
def test_two_processes_share_an_empty_store(start: Start, sh: Shell) -> None:
    line = ("mi", "cache", "--task", "ioi", "-n", "6", "--site", "blocks.0.attn.z")
    both = [start(*line, torch=1), start(*line, torch=1)]
    outs = [process.communicate(timeout=200) for process in both]
    assert [process.returncode for process in both] == [0, 0], outs
    assert outs[0][0] == outs[1][0]
    Path("cache.jsonl").write_bytes(outs[0][0])
    assert sh("mi verify cache.jsonl").code == 0


@pytest.mark.torch_process(1)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_at_the_end_of_the_work(sh: Shell) -> None:
    refused(sh("mi cache --task ioi -n 4 >/dev/full", torch=1), 4, "space")


# Room for the libraries and one result; then less and less room above it, until nothing helps. What malloc frees goes
# back to the system, so that no run finds the room that another took.
LITTLE_MEMORY = """
import json, os, resource, sys
from mi.__main__ import main

def size():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

words = "attribute cache.jsonl --method eap --fresh -o".split()
assert main([*words, "whole.jsonl"]) == 0
room, codes = 1_000_000, []
while room < 2_000_000_000 and 0 not in codes:
    print(f"run {len(codes)}", file=sys.stderr, flush=True)
    resource.setrlimit(resource.RLIMIT_AS, (size() + room, resource.RLIM_INFINITY))
    codes.append(main([*words, f"{len(codes)}.jsonl"]))
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    room *= 2
print(json.dumps(codes))
"""


@pytest.mark.torch_process(1)
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the size of a process is read from /proc")
def test_too_little_memory_is_smaller_batches_and_at_last_one_clear_message(mi: Session, start: Start) -> None:
    """Batches are halved by themselves, which is said once and recorded; the result is the same."""
    write_ids("ids.jsonl", n=200, length=20, split="train")
    mi("cache", "--data", "ids.jsonl", "-o", "cache.jsonl").ok()
    env = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    process = start(sys.executable, "-c", LITTLE_MEMORY, torch=1, env=env)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()
    codes = json.loads(out)
    before, *said = err.decode().split("run ")
    assert "out of memory" not in before
    assert "Traceback" not in err.decode()
    assert codes == [4] * (len(codes) - 1) + [0], err.decode()
    assert len(codes) > 1, "a megabyte is enough: the test proves nothing"
    for number, text in enumerate(said[:-1]):
        said_so = [line for line in text.splitlines() if "mi attribute: out of memory" in line]
        notices = [line for line in said_so if "out of memory: batches of " in line]
        assert len(notices) <= 1, text
        assert len(said_so) - len(notices) == 1, text
        assert not Path(f"{number}.jsonl").exists()
    assert said[-1].count("out of memory: batches of ") == 1, said[-1]
    assert not list(Path(".").glob(".*tmp"))
    whole, halved = (stream.read(f"{name}.jsonl", ("scores",)) for name in ("whole", len(codes) - 1))
    assert whole.head["attribution"]["halved"] == 0
    assert halved.head["attribution"]["halved"] > 0
    one, other = (np.asarray(blobs.load(found, "scores")["edge"]) for found in (whole, halved))
    np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(one).max(), rtol=0)


class Talk:
    """What a process has said on stderr so far."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process, self.text = process, ""
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.text += line.decode()

    def heard(self, word: str) -> None:
        waiting.until(lambda: word in self.text, f"saying {word!r}", self.process)

    def end(self) -> int:
        code = self.process.wait(timeout=100)
        self.thread.join(timeout=100)
        return code


@pytest.mark.torch_process(2)
def test_a_kill_leaves_the_old_result_or_the_new_one(mi: Session, start: Start) -> None:
    """In the middle of the work, and about when the result is written."""
    seed = random.SystemRandom().randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    words = ("cache", "--task", "ioi", "--site", "blocks.0.attn.z", "-o", "acts.jsonl", "--fresh")
    for sign, longest in ((" gone", 0.1), ("cache 400/400", 0.3)):
        mi(*words, "-n", "3").ok()
        process = start(sys.executable, "-c", TALKING, *words, "-n", "200", "--batch-size", "50", torch=1)
        talk = Talk(process)
        talk.heard(sign)
        waiting.a_moment(rng, longest)
        process.kill()
        talk.end()
        assert mi("verify", "acts.jsonl").code == 0, f"seed {seed}"
        assert len(stream.read("acts.jsonl", ("cache",)).records) in (6, 400)


def imports_torch(process: subprocess.Popen[bytes]) -> None:
    maps = Path(f"/proc/{process.pid}/maps")
    waiting.until(lambda: "libtorch" in maps.read_text(), "torch is imported", process)


@pytest.mark.torch_process(2)
@pytest.mark.skipif(signal.getsignal(signal.SIGINT) == signal.SIG_IGN, reason="SIGINT is ignored, as nohup does")
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="what a process has loaded is read from /proc")
def test_ctrl_c_while_libraries_are_imported_and_during_the_work(start: Start) -> None:
    seed = random.SystemRandom().randrange(1 << 30)
    print("seed", seed)
    rng = random.Random(seed)
    words = ("cache", "--task", "ioi", "-n", "2000", "--batch-size", "50", "-o", "cache.jsonl", "--fresh")
    for importing in (True, False):
        process = start(sys.executable, "-c", TALKING, *words, torch=1)
        talk = Talk(process)
        if importing:
            imports_torch(process)
        else:
            talk.heard(" gone")
        waiting.a_moment(rng, 1.0 if importing else 0.1)
        process.send_signal(signal.SIGINT)
        code = talk.end()
        assert process.stdout is not None
        assert (code, process.stdout.read()) == (130, b""), f"seed {seed}: {talk.text}"
        assert "Traceback" not in talk.text
        assert [name for name in os.listdir(".") if not name.startswith(".mi")] == []
