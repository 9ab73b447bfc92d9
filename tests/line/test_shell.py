"""The line among other programs: jq, tee, head, xargs; scripts; a stream's own past. Results come from the store."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from mi.io import chain, stream
from tests.line.conftest import Session, Shell, refused, tiny, write_ids

pytestmark = pytest.mark.usefixtures("here")


def test_the_line_through_tee_gives_the_bytes_of_the_files(sh: Shell, here: Path) -> None:
    """A pipe and files say the same, but for the paths of tensors that lie beside a file."""
    line = "mi cache -m model ioi.jsonl | tee c | mi attribute | tee s | mi prune --percent 60 | tee k | mi score"
    done = sh(f"set -o pipefail; {line}")
    assert done.code == 0, done.err
    assert done.out == Path("report.jsonl").read_bytes()
    assert Path("c").read_bytes() == Path("cache.jsonl").read_bytes()
    assert Path("k").read_bytes() == Path("circuit.jsonl").read_bytes()
    one, other = (stream.read(name, ("scores",)) for name in ("s", "scores.jsonl"))
    assert (one.head, one.blobs["scores"].path) == (other.head, None)


def test_a_reader_that_has_enough_ends_the_line_quietly(sh: Shell, here: Path) -> None:
    """A report of the curve is longer than a pipe holds, so the writer is stopped."""
    for line in ("mi cache -m model ioi.jsonl", "mi attribute cache.jsonl", "mi score scores.jsonl"):
        done = sh(f"{line} -q | head -c 20; exit ${{PIPESTATUS[0]}}")
        assert done.code in (0, 141), done.err
        assert (len(done.out), done.err) == (20, "")
    for line in ("mi score scores.jsonl -q", "mi data ioi -n 2000 -q", "mi view scores.jsonl", "mi --help"):
        nobody, pipe = os.pipe()
        os.close(nobody)
        stopped = sh(line, stdout=pipe)
        os.close(pipe)
        assert (stopped.code, stopped.err) == (141, ""), line


def test_xargs_runs_one_command_for_each_file(sh: Shell, here: Path) -> None:
    made = sh("printf '20\\n60\\n' | xargs -I % mi prune scores.jsonl --percent % -o circuit-%.jsonl -q")
    assert made.code == 0, made.err
    assert Path("circuit-60.jsonl").read_bytes() == stream_of_pipe(here)
    done = sh("ls cache.jsonl scores.jsonl circuit-*.jsonl | xargs mi verify")
    assert (done.code, len(done.text.splitlines())) == (0, 4), done.err


def stream_of_pipe(here: Path) -> bytes:
    """The circuit of `made`, which was pruned with the same flags spelt the same way."""
    return Path("circuit.jsonl").read_bytes()


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_the_jq_idiom(sh: Shell, mi: Session) -> None:
    """Edit with jq, seal with stamp: the circuit runs, and its chain tells of the edit."""
    largest = max(abs(r["score"]) for r in stream.read("circuit.jsonl", ("circuit",)).records)
    choose = f"select(.mi or (.score | fabs) > {largest / 4})"
    edit = f"mi view --json circuit.jsonl | jq -c '{choose}'"
    refused(sh(f"{edit} | mi score"), 3, "stdin", "mi stamp")
    done = sh(f"set -o pipefail; {edit} | mi stamp -q | tee edited.jsonl | mi prune -o again.jsonl -q --percent 100")
    assert done.code == 0, done.err
    edited = stream.read("edited.jsonl", ("circuit",))
    kept = [r for r in stream.read("circuit.jsonl", ("circuit",)).records if abs(r["score"]) > largest / 4]
    assert edited.records == kept
    assert 0 < len(kept) < len(stream.read("circuit.jsonl", ("circuit",)).records)
    assert chain.last(edited.head) != chain.last(stream.read("circuit.jsonl", ("circuit",)).head)
    report = stream.parse(mi("score", "edited.jsonl").ok().out.splitlines(True), "report", ("report",))
    assert report.records[0]["size"] == len(kept)
    assert "stamp" in mi("log", "edited.jsonl").text
    refused(mi("log", "--script", "edited.jsonl"), 3, "edited by hand")


ODD = 'it\'s "odd" $HOME `x` näme 日本 \\ }'


def test_a_script_makes_the_same_bytes_from_names_that_a_shell_would_stumble_on(
    sh: Shell, mi: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store knows the result of the very same command lines, so that only exact words find it again."""
    folder = tmp_path / f"in {ODD}".replace("\\", "")
    folder.mkdir()
    monkeypatch.chdir(folder)
    tiny(Path(f"model {ODD}"))
    write_ids(f"data {ODD}.jsonl")
    mi("cache", "-m", f"model {ODD}", "--data", f"data {ODD}.jsonl", "-o", f"cache {ODD}.jsonl", "-q").ok()
    mi("attribute", f"cache {ODD}.jsonl", "--split", "all", "-o", f"scores {ODD}.jsonl", "-q").ok()
    mi("prune", f"scores {ODD}.jsonl", "--drop", "a0.h1->*", "--percent", "70", "-o", f"circuit {ODD}.jsonl", "-q").ok()
    mi("score", f"circuit {ODD}.jsonl", "--split", "all", "-o", "report.jsonl", "-q").ok()
    Path("again.sh").write_bytes(mi("log", "--script", "report.jsonl").ok().out)
    again = sh("bash again.sh -q -o again.jsonl")
    assert again.code == 0, again.err
    assert Path("again.jsonl").read_bytes() == Path("report.jsonl").read_bytes()
    assert mi("verify", *sorted(str(path) for path in Path(".").glob("*.jsonl") if "data" not in path.name)).code == 0
    write_ids(f"data {ODD}.jsonl", seed=1)
    stopped = sh("bash again.sh")
    assert (stopped.code, stopped.out) == (3, b"")
    assert "is not what the result was made from" in stopped.err


def test_the_script_s_variable_moves_the_model_of_every_command(mi: Session, sh: Shell) -> None:
    """`mi data -m` and `mi cache -m` read one model: one variable stands for both."""
    Path("again.sh").write_bytes(mi("log", "--script", "report.jsonl").ok().out)
    text = Path("again.sh").read_text()
    assert "MODEL=${MODEL:-model}\n" in text
    assert "MODEL2" not in text
    assert 'mi data ioi --number 6 --model "$MODEL"' in text
    os.rename("model", "moved")
    assert "model is missing" in sh("bash again.sh").err
    done = sh("export MODEL=moved; bash again.sh")
    assert "imports torch" in done.err, "with its files found, the first command that must compute starts torch"


def test_a_file_can_be_its_own_output(mi: Session) -> None:
    """Everything is read before anything is written."""
    before = mi("prune", "scores.jsonl", "--top", "9").ok().out
    mi("prune", "scores.jsonl", "--top", "9", "-o", "scores.jsonl", "-q").ok()
    assert Path("scores.jsonl").read_bytes() == before
    assert not list(Path(".").glob("scores.*.safetensors")), "nothing names the tensors of the file that was replaced"


def test_unknown_fields_and_names_survive_the_line(mi: Session) -> None:
    """What mi does not know passes through `cache` untouched, and the metric is read where the record says."""
    lines = [json.loads(line) for line in Path("ids.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):
        line["id"] = f"käse {number}"
        line["notes"] = {"author": "日本", "n": [number, None]}
    Path("ids.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    mi("cache", "-m", "model", "--data", "ids.jsonl", "-o", "noted.jsonl", "-q").ok()
    records = stream.read("noted.jsonl", ("cache",)).records
    assert [{k: v for k, v in record.items() if k != "baseline"} for record in records] == lines
    mi("attribute", "noted.jsonl", "--split", "all", "-o", "s.jsonl", "-q").ok()
    mi("prune", "s.jsonl", "--percent", "60", "-o", "k.jsonl", "-q").ok()
    report = stream.parse(mi("score", "k.jsonl", "--split", "all").ok().out.splitlines(True), "report", ("report",))
    assert [record["id"] for record in report.records if "id" in record] == [line["id"] for line in lines]
    assert [r["clean"] for r in report.records if "id" in r] == pytest.approx([r["baseline"]["clean"] for r in records])
