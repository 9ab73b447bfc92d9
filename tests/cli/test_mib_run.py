"""`mi mib run`: a cell from rows in a folder to CPR and CMD in one command; the Makefile of all; what is refused."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from mi import embedded
from mi.circuit.benchmark import CELLS, Cell
from mi.io import stream
from mi.tasks import task as tasks
from mi.tasks.tokenizer import load
from tests.cli.conftest import Session


def write_rows(folder: Path, n: int = 12) -> None:
    """IOI as the benchmark's rows, in words of the embedded model; the last row of each split is of unequal length."""
    tokenizer = load(embedded.path("default"), "default")
    records, _ = tasks.make("ioi", n, 0, None, tokenizer)
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        rows = [_row(record) for record in records if record["split"] == split]
        odd = json.loads(json.dumps(rows[0]))
        odd["s2_io_flip_counterfactual"]["prompt"] = odd["s2_io_flip_counterfactual"]["prompt"].replace(" to", " to to")
        text = "".join(json.dumps(row) + "\n" for row in [*rows, odd])
        (folder / f"{split}-00000-of-00001.jsonl").write_text(text)


def _row(record: dict[str, Any]) -> dict[str, Any]:
    right, wrong = record["answers"][0].strip(), record["foils"][0].strip()
    names = {"choices": [right, wrong], "answerKey": 0}
    return {
        "prompt": record["clean"],
        "template": "one",
        "metadata": {"indirect_object": right, "subject": wrong, "random_c": wrong},
        **names,
        "s2_io_flip_counterfactual": {"prompt": record["corrupted"], **names},
    }


def summaries(file: Path) -> dict[str, float]:
    return {r["summary"]: r["value"] for r in stream.read(str(file), ("report",)).records if "summary" in r}


def test_a_cell_is_what_the_stages_give(mi: Session) -> None:
    write_rows(Path("sets/ioi"))
    done = mi("mib", "run", "--model", "default", "--task", "ioi", "--data", "sets", "-n", "8", "-o", "runs").ok()
    cell = Path("runs/ioi_default")
    found = summaries(cell / "report.jsonl")
    assert f"{found['cpr']:.4g}"[:5] in done.text
    assert "CMD" in done.text
    assert "rows skipped" in done.err
    assert (cell / "importances.json").read_bytes() == mi("export", "mib", cell / "scores.jsonl").ok().out
    scores = stream.read(str(cell / "scores.jsonl"), ("scores",)).head
    report = stream.read(str(cell / "report.jsonl"), ("report",)).head
    assert (scores["attribution"]["split"], scores["attribution"]["n"]) == ("train", 8)
    assert (report["scoring"]["split"], report["scoring"]["n"]) == ("validation", 12)
    mi("data", "--from", "sets/ioi", "-m", "default", "--skip", "-q", "-o", "rows.jsonl").ok()
    mi("attribute", "rows.jsonl", "-m", "default", "--limit", "8", "-q", "-o", "scores.jsonl").ok()
    mi("score", "scores.jsonl", "-q", "-o", "report.jsonl").ok()
    assert summaries(Path("report.jsonl")) == found
    mi("mib", "results", cell / "report.jsonl", "--method-name", "x", "-o", "results.json").ok()
    assert json.loads(Path("results.json").read_text())["results"][0]["model_id"] == "default"


def test_flags_reach_their_stages_and_a_folder_is_the_set_itself(mi: Session) -> None:
    write_rows(Path("rows"))
    words = ("--method", "eap", "--level", "node", "-n", "4", "--validation", "5", "--batch-size", "3")
    mi("mib", "run", "--model", "default", "--task", "ioi", "--data", "rows", *words, "-q").ok()
    cell = Path("mib/ioi_default")
    scores = stream.read(str(cell / "scores.jsonl"), ()).head["attribution"]
    assert (scores["method"], scores["level"], scores["n"]) == ("eap", "node", 4)
    assert stream.read(str(cell / "report.jsonl"), ()).head["scoring"]["n"] == 5
    nodes = json.loads((cell / "importances.json").read_bytes())["nodes"]
    assert "score" in nodes["m0"] and "score" not in nodes["logits"]


def test_the_hub_is_asked_where_no_folder_is_named(mi: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    write_rows(Path("sets/ioi"))
    asked: list[Any] = []

    def snapshot(repo: str, **more: Any) -> str:
        asked.append((repo, more["repo_type"]))
        return str(Path("sets/ioi"))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    mi("mib", "run", "--model", "default", "--task", "ioi", "-n", "4", "--validation", "4", "-q").ok()
    assert asked == [("mib-bench/ioi", "dataset")]

    def offline(repo: str, **more: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    done = mi("mib", "run", "--model", "default", "--task", "ioi")
    assert done.code == 3
    assert "the hub did not give mib-bench/ioi: no network; give --data FOLDER" in done.err


def test_what_is_refused(mi: Session) -> None:
    for words, fact in (
        ((), "which task is not said"),
        (("--task", "greater-than"), "the benchmark has no task 'greater-than'"),
        (("--task", "ioi"), "which model is not said"),
        (("--task", "ioi", "--model", "default", "--data", "nowhere"), "there is no folder nowhere"),
    ):
        done = mi("mib", "run", *words)
        assert done.code == 2
        assert fact in done.err
    Path("empty").mkdir()
    done = mi("mib", "run", "--task", "mcqa", "--model", "default", "--data", "empty")
    assert done.code == 3
    assert "no data set of mcqa lies in empty" in done.err
    done = mi("mib", "run", "--matrix", "--task", "mcqa", "--model", "gpt2")
    assert done.code == 2
    assert "no cell of gpt2 and mcqa" in done.err


def test_the_makefile_of_all_cells(mi: Session) -> None:
    text = mi("mib", "run", "--matrix").ok().text
    names = [Cell(*each).name for each in CELLS]
    assert all(f"$(OUT)/{name}/importances.json:\n" in text for name in names)
    mi("mib", "run", "--matrix", "--task", "ioi", "-o", "Makefile").ok()
    made = Path("Makefile").read_text()
    assert made.count("importances.json:\n") == 4
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    planned = subprocess.run(["make", "-n", "DATA=sets"], capture_output=True, text=True, check=True).stdout
    lines = planned.splitlines()
    assert lines[0] == "mi mib run --method eap-ig --data sets  -o mib --model gpt2 --task ioi"
    assert len(lines) == 5
    assert lines[-1].startswith("mi mib results mib/ioi_gpt2/report.jsonl mib/ioi_qwen2.5/report.jsonl")
