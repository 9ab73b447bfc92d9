"""The files of examples/ run as they stand: make, Slurm's array (its `sbatch` played by a script), Snakemake, DVC, and
the steps of the action in bash. What torch would compute is in the store, so no process imports it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi.__main__ import main
from mi.io import blobs, stream
from tests import waiting
from tests.data_dir import CHECKOUT
from tests.line.conftest import Session, Shell, Start, nobody_writes

EXAMPLES = CHECKOUT / "examples"
SMALL = 12  # examples of each split
PERCENT = 30
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # Snakemake sets them, and results are kept apart by them


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that holds what the models of all examples compute, and the files that lead there."""
    folder = tmp_path_factory.mktemp("computed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MI_STORE", "store")
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        for name in ("MI_MODEL", "MI_DEVICE", "MI_DTYPE", "MI_BATCH_SIZE"):
            patch.delenv(name, raising=False)
        for name in THREADS:
            patch.setenv(name, "1")
        for line in (
            f"data ioi -m default -n {SMALL} -o examples.jsonl",
            "cache -m default examples.jsonl -o cache.jsonl",
            "attribute cache.jsonl -o scores.jsonl",
            f"prune --percent {PERCENT} scores.jsonl -o circuit.jsonl",
            "score circuit.jsonl --data examples.jsonl -o report.jsonl",
            "score circuit.jsonl -o base.jsonl",
            "score scores.jsonl --data examples.jsonl -o curve.jsonl",
            "attribute examples.jsonl -m default --shard 1/2 -o part-1.jsonl",
            "attribute examples.jsonl -m default --shard 2/2 -o part-2.jsonl",
            "merge --sum part-1.jsonl part-2.jsonl -o summed.jsonl",
            "attribute examples.jsonl -m default -o whole.jsonl",
            f"prune --percent {PERCENT} whole.jsonl -o other.jsonl",
            "score other.jsonl --data examples.jsonl -o other-report.jsonl",
            "prune --percent 5 scores.jsonl -o poor.jsonl",
            "score poor.jsonl -o poor-report.jsonl",
        ):
            with nobody_writes():
                assert main([*line.split(), "-q"]) == 0, line
    return folder


@pytest.fixture(autouse=True)
def in_store(computed: Path, own_store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(computed / "store", own_store)
    for name in THREADS:
        monkeypatch.setenv(name, "1")


def settled(mi: Session, summed: str = "scores.jsonl") -> None:
    """What comes after the shards depends on their names: put it in the store too."""
    mi("prune", summed, "-o", "circuit.jsonl", "-q").ok()
    mi("score", "circuit.jsonl", "--data", "examples.jsonl", "-q").ok()
    Path("circuit.jsonl").unlink()


def copied(name: str, folder: Path) -> None:
    for file in (EXAMPLES / name).iterdir():
        shutil.copy(file, folder / file.name)


def same_scores(found: str, wanted: Path) -> None:
    mine, theirs = (blobs.load(stream.read(str(name), ("scores",)), "scores") for name in (found, wanted))
    for key, values in theirs.items():
        np.testing.assert_allclose(mine[key], values, rtol=0, atol=1e-6 * np.abs(values).max())


MAKE = f"make -s N={SMALL} PERCENT={PERCENT}"


def test_make(mi: Session, sh: Shell, folder: Path, computed: Path) -> None:
    copied("make", folder)
    done = sh(MAKE)
    assert done.code == 0, done.err
    assert Path("circuit.jsonl").read_bytes() == (computed / "circuit.jsonl").read_bytes()
    assert Path("report.jsonl").read_bytes() == (computed / "report.jsonl").read_bytes()
    assert mi("verify", "curve.jsonl").code == 0
    again = sh(f"make N={SMALL} PERCENT={PERCENT}")
    assert (again.code, again.text.strip()) == (0, "make: Nothing to be done for 'all'.")


def test_make_check(sh: Shell, folder: Path, computed: Path) -> None:
    copied("make", folder)
    none = sh(f"{MAKE} check")
    assert none.code != 0
    assert "there is no baseline yet: make baseline" in none.err
    assert sh(f"{MAKE} baseline").code == 0
    assert sh(f"{MAKE} check").text.startswith("fine  faithfulness")
    assert sh(f"make -q N={SMALL} PERCENT={PERCENT} check").code in (0, 1)
    Path("report.jsonl").write_bytes((computed / "poor-report.jsonl").read_bytes())
    worse = sh(f"{MAKE} check")
    assert worse.code != 0
    assert "regression" in worse.err
    assert not Path("check.txt").exists()


def test_make_that_was_killed_goes_on(start: Start, sh: Shell, folder: Path, computed: Path) -> None:
    copied("make", folder)
    stuck = folder / "bin"
    stuck.mkdir()
    (stuck / "mi").write_text(
        f'#!/bin/sh\n[ "$1" != prune ] || {{ touch {folder}/stuck; exec sleep 100; }}\n'
        f'PATH=${{PATH#*:}} exec {sys.executable} -m mi "$@"\n'
    )
    (stuck / "mi").chmod(0o755)
    process = start("bash", "-c", f"PATH={stuck}:$PATH exec {MAKE}", start_new_session=True)
    waiting.until((folder / "stuck").exists, "make has come to mi prune")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(20)
    assert Path("scores.jsonl").exists()
    assert not Path("circuit.jsonl").exists()
    done = sh(MAKE)
    assert done.code == 0, done.err
    for name in ("scores.jsonl", "circuit.jsonl", "report.jsonl", "curve.jsonl"):
        assert Path(name).read_bytes() == (computed / name).read_bytes()


SHARDS = f"make N={SMALL} SHARDS=2"


def test_make_in_shards(mi: Session, sh: Shell, folder: Path, computed: Path) -> None:
    copied("shards", folder)
    done = sh(f"{SHARDS} -j 2 scores.jsonl")
    assert done.code == 0, done.err
    same_scores("scores.jsonl", computed / "whole.jsonl")
    settled(mi)
    assert sh(SHARDS).code == 0
    assert "is up to date" in sh(SHARDS).text
    Path("shards/part-2-of-2.jsonl").unlink()
    before = Path("scores.jsonl").read_bytes()
    again = sh(SHARDS).text
    assert again.count("mi attribute") == 1
    assert again.count("mi merge") == 1
    assert Path("scores.jsonl").read_bytes() == before


SBATCH = """#!/bin/bash
# Slurm, as far as it is needed: a job runs at once, an array its tasks one after the other; a dependency must be known.
set -u
array= wrap= depends=
while [ $# -gt 0 ]; do
  case $1 in
    --array=*) array=${1#*=} ;;
    --wrap) wrap=$2; shift ;;
    --dependency=afterok:*) depends=${1##*:} ;;
    --*) ;;
    *) break ;;
  esac
  shift
done
[ -z "$depends" ] || [ -e "job-$depends.ok" ] || exit 0
id=$RANDOM
failed=0
if [ -n "$array" ]; then
  for i in $(seq "${array%-*}" "${array#*-}"); do
    SLURM_ARRAY_TASK_ID=$i SLURM_ARRAY_TASK_COUNT=1 bash "$1" >>log 2>&1 || failed=1
  done
else
  bash -c "$wrap" >>log 2>&1 || failed=1
fi
[ $failed = 1 ] || touch "job-$id.ok"
echo "$id"
"""


def test_an_array_of_slurm(sh: Shell, folder: Path, computed: Path) -> None:
    copied("shards", folder)
    (folder / "bin").mkdir()
    (folder / "bin" / "sbatch").write_text(SBATCH)
    (folder / "bin" / "sbatch").chmod(0o755)
    slurm = f"export PATH={folder}/bin:$PATH N={SMALL}"
    done = sh(f"{slurm}; bash submit.sh 2")
    assert done.code == 0, done.err
    assert Path("log").read_text() == ""
    same_scores("scores.jsonl", computed / "whole.jsonl")
    first = Path("scores.jsonl").read_bytes()
    for name in ("scores.jsonl", "shards/part-2-of-2.jsonl"):
        Path(name).unlink()
    kept = Path("shards/part-1-of-2.jsonl").stat().st_mtime_ns
    join = "mi merge --sum shards/*.jsonl -o scores.jsonl"
    alone = sh(f"{slurm}; SHARDS=2 sbatch --parsable --array=2-2 array.sh; {join}")
    assert alone.code == 0, alone.err
    assert Path("scores.jsonl").read_bytes() == first
    assert sh(f"{slurm}; bash submit.sh 2").code == 0
    assert Path("shards/part-1-of-2.jsonl").stat().st_mtime_ns == kept


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def test_snakemake(sh: Shell, folder: Path, computed: Path) -> None:
    tool("snakemake")
    copied("snakemake", folder)
    line = f"snakemake --cores 2 --config number={SMALL} percent={PERCENT}"
    done = sh(line)
    assert done.code == 0, done.err
    for name in ("scores.jsonl", "circuit.jsonl", "report.jsonl"):
        assert Path(name).read_bytes() == (computed / name).read_bytes()
    assert "Nothing to be done" in sh(line).err


def test_snakemake_in_shards(mi: Session, sh: Shell, folder: Path, computed: Path) -> None:
    tool("snakemake")
    copied("shards", folder)
    line = f"snakemake --cores 2 --config number={SMALL} shards=2"
    done = sh(f"{line} --until scores")
    assert done.code == 0, done.err
    same_scores("scores.jsonl", computed / "whole.jsonl")
    settled(mi)
    assert sh(line).code == 0
    assert "Nothing to be done" in sh(line).err


def test_dvc(sh: Shell, folder: Path, computed: Path) -> None:
    tool("dvc")
    copied("dvc", folder)
    Path("params.yaml").write_text(f"model: default\ntask: ioi\nn: {SMALL}\npercent: {PERCENT}\n")
    quiet = "export DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR=$PWD/site; dvc config core.check_update false"
    done = sh(f"dvc init -q --no-scm && {quiet} && dvc repro")
    assert done.code == 0, done.err + done.text
    assert Path("circuit.jsonl").read_bytes() == (computed / "other.jsonl").read_bytes()
    assert Path("report.jsonl").read_bytes() == (computed / "other-report.jsonl").read_bytes()
    assert "Data and pipelines are up to date." in sh(f"{quiet}; dvc repro").text


EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


def action() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load((EXAMPLES / "ci" / "action.yml").read_text())


def steps_in_bash(made: dict[str, Any], given: dict[str, str], folder: Path) -> Iterator[tuple[str, str]]:
    """Name and script of each step that runs bash, in the environment that the runner would give it."""
    inputs = {name: given.get(name, entry["default"]) for name, entry in made["inputs"].items()}

    def filled(text: str) -> str:
        return EXPRESSION.sub(lambda match: inputs[match[1].removeprefix("inputs.")], text)

    for step in made["runs"]["steps"]:
        if "run" not in step:
            continue
        assert step["shell"] == "bash"
        assert not EXPRESSION.search(step["run"]), "what a user gives belongs in env, not in the script"
        script = folder / "step.sh"
        script.write_text(step["run"])
        values = {name: filled(value) for name, value in step.get("env", {}).items()}
        exports = "".join(f"export {name}='{value}'; " for name, value in values.items())
        yield step["name"], f"{exports}bash --noprofile --norc -eo pipefail {script}"


def acted(sh: Shell, folder: Path, **given: str) -> dict[str, tuple[int, str]]:
    """Run the action's steps: exit code and output of each; after one that failed only those of `if: always()`."""
    (folder / "bin").mkdir(exist_ok=True)
    pip = folder / "bin" / "python"  # mi is on the path already; the runner's python is only asked to install it
    pip.write_text(f'#!/bin/sh\n[ "$2" = pip ] || exec {sys.executable} "$@"\necho "$@" > pip.txt\n')
    pip.chmod(0o755)
    made = action()
    always = {step.get("name") for step in made["runs"]["steps"] if step.get("if") == "always()"}
    codes: dict[str, tuple[int, str]] = {}
    for name, line in steps_in_bash(made, given, folder):
        if any(code for code, _ in codes.values()) and name not in always:
            continue
        done = sh(f"export PATH={folder}/bin:$PATH GITHUB_STEP_SUMMARY={folder}/summary.md; {line}")
        codes[name] = (done.code, done.text + done.err)
    return codes


def test_the_action(sh: Shell, folder: Path, computed: Path) -> None:
    for name in ("circuit.jsonl", "base.jsonl"):
        shutil.copy(computed / name, name)
    found = acted(sh, folder, install="mi==0.1")
    assert {name: code for name, (code, _) in found.items()} == {
        "Install mi": 0,
        "Score": 0,
        "Check": 0,
        "Say what was measured": 0,
    }, found
    assert Path("pip.txt").read_text().split()[-1] == "mi==0.1"
    summary = Path("summary.md").read_text()
    assert "faithfulness" in summary
    assert "```text" in summary
    assert Path("mi-check/report.jsonl").read_bytes() == Path("base.jsonl").read_bytes()
    assert '"version":"2.1.0"' in Path("mi-check/check.sarif").read_text().replace(" ", "")


def test_the_action_finds_a_circuit_that_got_worse(sh: Shell, folder: Path, computed: Path) -> None:
    shutil.copy(computed / "poor.jsonl", "circuit.jsonl")
    shutil.copy(computed / "base.jsonl", "base.jsonl")
    found = acted(sh, folder)
    assert found["Check"][0] == 1
    assert "::error" in found["Check"][1]
    assert found["Say what was measured"][0] == 0
    assert "regression" in Path("summary.md").read_text()
    assert Path("mi-check/check.sarif").exists()


def test_the_action_without_its_circuit(sh: Shell, folder: Path) -> None:
    found = acted(sh, folder)
    assert found["Score"][0] == 3
    assert "Check" not in found
    assert found["Say what was measured"][0] == 0


def test_the_workflow_uses_the_action_as_it_is() -> None:
    yaml = pytest.importorskip("yaml")
    flow = yaml.safe_load((EXAMPLES / "ci" / "workflow.yml").read_text())
    steps = flow["jobs"]["faithful"]["steps"]
    own = next(step for step in steps if step.get("uses", "").startswith("./"))
    assert set(own["with"]) <= set(action()["inputs"])
    for step in [*steps, *action()["runs"]["steps"]]:
        used = step.get("uses", "")
        assert not used or used.startswith("./") or re.fullmatch(r"[\w-]+/[\w/-]+@v\d+", used), used
    kept = next(step for step in action()["runs"]["steps"] if step.get("uses", "").startswith("actions/cache"))
    assert kept["with"]["path"] == ".mi/store"
    assert "hashFiles(inputs.circuit, inputs.baseline)" in kept["with"]["key"]
