"""`mi`, `mi --help`, `mi --version`, `mi nonsense`: and that nothing heavy is imported on the way."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mi import __version__
from mi.__main__ import COMMANDS, entry
from mi.io import stream
from mi.run import python_name
from tests.circuit.test_mib import TINY
from tests.cli import streams
from tests.cli.conftest import Session
from tests.cli.test_exchange_mib import report
from tests.data_dir import CHECKOUT


def test_help_lists_every_command_with_its_summary(mi: Session) -> None:
    done = mi("--help").ok()
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", done.text, re.MULTILINE)
    assert mi("-h").text == mi("help").text == done.text
    assert all(len(line) <= 100 for line in done.text.splitlines())


def test_every_command_is_a_module_and_every_module_a_command() -> None:
    modules = {path.stem for path in (CHECKOUT / "mi" / "commands").glob("*.py")}
    names = set(map(python_name, COMMANDS))
    parts = {stem for stem in modules - names if stem.partition("_")[0] in COMMANDS}  # of a command: data_filter
    shared = {"remote"}  # of several commands
    assert modules - parts - shared - {"__init__"} == names


def test_without_words_the_help_goes_to_stderr(mi: Session) -> None:
    done = mi()
    assert (done.code, done.out) == (2, b"")
    assert done.err == mi("--help").text


def test_version(mi: Session) -> None:
    assert mi("--version").ok().text == mi("-V").text == f"mi {__version__}\n"


def test_help_of_a_command(mi: Session) -> None:
    assert mi("help", "prune").ok().text == mi("prune", "--help").ok().text == mi("prune", "-h").text
    assert mi("help", "data", "filter").text == mi("data", "filter", "--help").ok().text != mi("data", "--help").text


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("prnue", "mi: no command 'prnue'; did you mean 'mi prune'?\n"),
        ("xyzzy", "mi: no command 'xyzzy'; 'mi --help' lists them\n"),
        ("--verbose", "mi: no option '--verbose'; 'mi --help' lists them\n"),
    ],
)
def test_an_unknown_word_is_a_usage_error_with_the_nearest_name(mi: Session, word: str, message: str) -> None:
    done = mi(word)
    assert (done.code, done.out, done.err) == (2, b"", message)


def imported(*words: str | Path, stdin: bytes = b"") -> set[str]:
    """The modules that one command line imports, in a process of its own."""
    asked = [sys.executable, "-X", "importtime", "-m", "mi", *map(str, words)]
    done = subprocess.run(asked, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    found = re.findall(rb"^import time: .*\| +([\w.]+)$", done.stderr, re.MULTILINE)
    return {name.decode() for name in found}


HEAVY = {"torch", "transformers", "nnsight", "huggingface_hub", "pandas", "scipy"}


def test_the_front_door_imports_the_standard_library_only() -> None:
    names = imported("--help")
    assert "mi.__main__" in names or "mi" in names
    # What this Python imports by itself: hooks of its distribution, and the finder of an editable installation.
    always = subprocess.run([sys.executable, "-X", "importtime", "-c", "pass"], capture_output=True, check=True).stderr
    own = {name.decode() for name in re.findall(rb"^import time: .*\| +([\w.]+)$", always, re.MULTILINE)}
    outside = {name.split(".")[0] for name in names - own} - set(sys.stdlib_module_names) - {"mi"}
    assert outside == set()
    assert not {"mi.run", "mi.options", "argparse", "importlib.metadata"} & names


# What a light command may import beside the parser, at its work: all else that is slow to import is for others.
LIGHT: dict[tuple[str, ...], set[str]] = {
    ("prune", "--help"): set(),
    ("prune", "scores.jsonl", "--top", "5"): {"numpy"},
    ("merge", "--mean", "scores.jsonl", "scores.jsonl"): {"numpy"},
    ("pipe", "prune scores.jsonl ! view"): {"numpy", "mi.show.table"},
    ("view", "scores.jsonl"): {"numpy", "mi.show.table"},
    ("view", "--json", "scores.jsonl"): {"numpy", "mi.show.table"},
    ("view", "-H", "scores.jsonl"): {"mi.show.table"},
    ("view", "examples.jsonl"): {"mi.show.table"},
    ("log", "scores.jsonl"): set(),
    ("log", "--script", "examples.jsonl"): set(),
    ("graph", "scores.jsonl"): {"numpy", "mi.show.table"},
    ("report", "scores.jsonl"): {"numpy", "mi.show.table"},
    ("plot", "scores.jsonl"): {"numpy", "mi.show.table"},
    ("verify", "scores.jsonl"): {"numpy"},
    ("verify", "examples.jsonl"): set(),
    ("stamp", "scores.jsonl"): set(),
    ("pack", "scores.jsonl", "-o", "copy.jsonl"): set(),
    ("schema", "circuit"): set(),
    ("gc",): {"mi.show.table"},
    ("info",): {"tokenizers", "mi.show.table"},
    ("adapter",): {"mi.show.table"},
    ("adapter", "show", "llama"): {"mi.show.table"},
    ("data", "ioi"): {"tokenizers", "mi.show.table"},
    ("data", "--list"): {"tokenizers", "mi.show.table"},
    ("data", "--from", "examples.jsonl"): {"tokenizers", "mi.show.table"},
    ("eval", "ground-truth", "scores.jsonl", "--truth", "truth.json", "--resamples", "0"): {"numpy", "mi.show.table"},
}
LIGHT |= {
    ("import", "mib", "graph.json"): {"numpy", "mi.show.table"},
    ("export", "mib", "scores.jsonl"): {"numpy"},
    ("push", "./there", "scores.jsonl"): {"numpy"},
    ("pull", ".", "scores.jsonl", "-o", "copy.jsonl"): {"numpy"},
    ("mib", "results", "curve.jsonl", "--cell", "ioi_gpt2"): {"numpy"},
}
LIGHT |= {
    ("check", "report.jsonl", "--min", "auroc=0"): {"numpy"},
    ("diff", "scores.jsonl", "scores.jsonl"): {"numpy", "mi.show.table"},
    ("set", "union", "circuit.jsonl", "circuit.jsonl"): {"numpy"},
    ("head", "examples.jsonl"): set(),
    ("cat", "examples.jsonl"): set(),
    ("split", "examples.jsonl", "--by", "split", "--only", "train"): set(),
}
RUN_A_MODEL = {"cache", "patch", "attribute", "search", "score"}
SLOW = {"numpy", "tokenizers", "mi.show.table", "rich", "pydantic", "importlib.metadata", "asyncio", "email", "ssl"}


@pytest.mark.parametrize(("words", "light"), [(("prune", "--help"), True), (("cache", "--help"), False)])
def test_only_light_commands_do_without_a_pool_of_threads_and_a_busy_collector(
    words: tuple[str, ...], light: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a model computes may be numpy's work, and torch's on some machines: there the pool is left alone. And its
    tensors may be held by a cycle."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "")  # so that it is put back
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    thresholds: list[int] = []
    monkeypatch.setattr("gc.set_threshold", thresholds.append)
    monkeypatch.setattr("sys.argv", ["mi", *words])
    monkeypatch.setattr("mi.__main__._leave", sys.exit)
    with pytest.raises(SystemExit):
        entry()
    assert (os.environ.get("OPENBLAS_NUM_THREADS"), bool(thresholds)) == (("1", True) if light else (None, False))
    os.environ.pop("OPENBLAS_NUM_THREADS", None)


ENDING = """
import sys
import mi.__main__ as door
def main(args):
    {before}
    sys.stdout.write("out")
    sys.stderr.write("err")
    return 1
door.main = main
import atexit
atexit.register(lambda: print(" in order"))
door.entry()
"""


@pytest.mark.parametrize(
    ("before", "out"),
    [
        ("pass", "out"),
        ("sys.modules['torch'] = sys", "out in order\n"),
        ("sys.setprofile(lambda *_: None)", "out in order\n"),
    ],
    ids=["light", "torch", "profiled"],
)
def test_a_light_command_ends_at_once_and_whole(before: str, out: str) -> None:
    """No module is taken apart; what was written is written."""
    script = ENDING.format(before=before)
    done = subprocess.run([sys.executable, "-c", script, "log"], capture_output=True, text=True, cwd=CHECKOUT)
    assert (done.returncode, done.stdout, done.stderr) == (1, out, "err")


def test_every_command_that_runs_no_model_is_looked_at() -> None:
    assert {words[0] for words in LIGHT} == set(COMMANDS) - RUN_A_MODEL


@pytest.mark.parametrize("words", LIGHT, ids=" ".join)
def test_a_light_command_imports_what_its_work_needs(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    streams.write_scores("scores.jsonl")
    streams.write_examples("examples.jsonl")
    Path("truth.json").write_text('{"true_edges": ["input->logits", "m0->logits"]}')
    Path("graph.json").write_text(TINY)
    stream.write("curve.jsonl", {"kind": "report"}, report(0))
    stream.write("report.jsonl", {"kind": "report"}, [{"summary": "auroc", "value": 1.0, "low": 1.0, "high": 1.0}])
    stream.write("circuit.jsonl", streams.head("circuit", "prune"), [{"src": "input", "dst": "logits", "score": 1.0}])
    names = imported(*words)
    assert "mi.run" in names
    assert not HEAVY & names
    assert names & SLOW <= LIGHT[words]


@pytest.mark.parametrize("then", ["raise", "int('x')"])
def test_an_interrupt_inside_a_library_s_import_ends_with_130(tmp_path: Path, then: str) -> None:
    """CPython remembers an interrupt that passed through exec(), and would end the process by the signal; and numpy
    makes an ImportError of one."""
    (tmp_path / "interrupted.py").write_text(
        "import mi.run, mi.__main__\n"
        "def execute(command, argv, *more):\n"
        "    try: exec('raise KeyboardInterrupt')\n"
        f"    except KeyboardInterrupt: {then}\n"
        "mi.run.execute = execute\n"
        "mi.__main__.entry()\n"
    )
    path = os.pathsep.join([str(tmp_path), str(CHECKOUT)])
    done = subprocess.run(
        [sys.executable, "-m", "interrupted", "log"], capture_output=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
