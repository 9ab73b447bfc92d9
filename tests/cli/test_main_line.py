"""The main line on trained models, and everything that can go wrong between its stages. In this process."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi import embedded
from mi.circuit.transformer import transformer_graph
from mi.io import store, stream
from tests.cli import streams
from tests.cli.conftest import Done, Session
from tests.data_dir import shared

LINE = "cache --task ioi -n 12 ! attribute --steps 2 ! prune ! score"


def model(name: str, into: str = "model") -> Path:
    """A copy of a model's folder under the working directory, so that its recorded path is a short one."""
    source = shared("golden", name) if name.endswith("-tiny") else shared("data", name)
    target = Path(into)
    target.mkdir()
    for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        if (source / file).exists():
            shutil.copy(source / file, target / file)
    return target


def task_file(name: str) -> Path:
    target = Path(f"{name}.csv")
    shutil.copy(shared("data", "stories260K_tasks", f"{name}.csv"), target)
    return target


def summaries(path: str) -> dict[str, dict[str, Any]]:
    return {r["summary"]: r for r in stream.read(path, ("report",)).records if "summary" in r}


def refused(done: Done, code: int, *parts: str) -> None:
    """One clear message, no output, no traceback."""
    assert (done.code, done.out) == (code, b""), done.err
    assert "Traceback" not in done.err
    assert "unexpected" not in done.err
    last = [line for line in done.err.splitlines() if line.startswith("mi ")][-1]
    text = done.err[done.err.index(last) :]
    assert len(text.splitlines()) <= 2, text
    for part in parts:
        assert part in text, text


def test_on_stories260k_a_hundredth_of_the_edges_is_nearly_faithful(mi: Session) -> None:
    folder, data = model("stories260K"), task_file("pronoun_subject")
    mi("cache", "-m", folder, "--data", data, "-o", "cache.jsonl").ok()
    mi("attribute", "cache.jsonl", "-o", "scores.jsonl").ok()
    mi("prune", "scores.jsonl", "--percent", "1", "-o", "circuit.jsonl").ok()
    mi("score", "circuit.jsonl", "-o", "report.jsonl").ok()
    found = summaries("report.jsonl")["faithfulness"]
    assert 0.75 < found["value"] < 0.9
    assert found["low"] < found["value"] < found["high"]
    head = stream.read("circuit.jsonl", ("circuit",)).head
    assert head["selection"]["requested"] == int(0.01 * transformer_graph(5, 8).n_edges)
    for name in ("cache", "scores", "circuit", "report"):
        assert mi("verify", f"{name}.jsonl").code == 0


def test_where_the_model_is_at_chance_no_faithfulness_is_printed(mi: Session) -> None:
    folder, data = model("stories260K"), task_file("ioi_like")
    done = mi(
        "pipe", f"cache -m {folder} --data {data} ! attribute --method eap ! prune ! score", "-o", "report.jsonl"
    ).ok()
    assert "right on" in done.err, "a warning that the model cannot do the task"
    found = summaries("report.jsonl")["faithfulness"]
    assert "undetermined" in found
    assert "value" not in found
    assert "undetermined" in mi("view", "report.jsonl").text


def test_a_committed_circuit_is_scored_in_a_new_clone_with_an_empty_store(
    mi: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data = model("stories260K"), task_file("pronoun_subject")
    line = f"cache -m {folder} --data {data} ! attribute --method eap ! prune --percent 5 --tee circuit.jsonl ! score"
    mi("pipe", line, "-o", "report.jsonl").ok()
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("circuit.jsonl", data.name):
        shutil.copy(name, clone / name)
    shutil.copytree(folder, clone / folder.name)
    monkeypatch.chdir(clone)
    monkeypatch.setenv("MI_STORE", str(tmp_path / "other store"))
    again = stream.parse(mi("score", "circuit.jsonl").ok().out.splitlines(True), "again", ("report",))
    assert again.records == stream.read("../here/report.jsonl", ("report",)).records
    Path(data.name).unlink()
    shutil.rmtree(tmp_path / "other store")
    refused(mi("score", "circuit.jsonl"), 3, "--data")
    Path(data.name).write_text("clean,corrupted,correct_idx,incorrect_idx\nOne,Two,3,4\n")
    assert mi("score", "circuit.jsonl").code == 3, "another file under the same name"


def test_a_generated_circuit_needs_no_file_at_all(mi: Session) -> None:
    mi("pipe", LINE.replace("! prune", "! prune --tee circuit.jsonl"), "-o", "report.jsonl").ok()
    shutil.rmtree(store.where())
    again = mi("score", "circuit.jsonl").ok()
    assert again.out == Path("report.jsonl").read_bytes()


def test_the_pipe_in_one_process_gives_the_bytes_of_the_stages(mi: Session) -> None:
    whole = mi("pipe", LINE).ok().out
    shutil.rmtree(store.where())
    data: bytes | None = None
    for stage in LINE.split(" ! "):
        data = mi(*stage.split(), "--fresh" if not stage.startswith("prune") else "-q", stdin=data).ok().out
    assert data == whole


def test_a_replay_from_the_store_gives_the_same_bytes(mi: Session) -> None:
    first = mi("cache", "--task", "ioi", "-n", "4").ok().out
    assert mi("cache", "--task", "ioi", "-n", "4").ok().out == first
    assert mi("cache", "--task", "ioi", "-n", "4", "--fresh").ok().out == first
    assert mi("cache", "--task", "ioi", "-n", "4", "--seed", "1").ok().out != first


def test_scores_made_without_a_cache_are_the_same(mi: Session) -> None:
    """A cache is an optimisation: attribute takes examples just as well."""
    mi("data", "ioi", "-n", "8", "-o", "ioi.jsonl").ok()
    mi("cache", "ioi.jsonl", "-o", "cache.jsonl").ok()
    for source in ("ioi", "cache"):
        mi("attribute", f"{source}.jsonl", "--method", "eap", "-o", f"{source}.scores.jsonl").ok()
    assert mi("view", "ioi.scores.jsonl").out == mi("view", "cache.scores.jsonl").out


@pytest.fixture
def scores(mi: Session) -> str:
    mi("pipe", "cache --task ioi -n 6 ! attribute --method eap", "-o", "scores.jsonl").ok()
    return "scores.jsonl"


@pytest.mark.parametrize("verb", ["attribute", "prune", "score"])
def test_every_verb_refuses_what_is_not_a_whole_stream(mi: Session, verb: str) -> None:
    streams.write_scores("scores.jsonl")
    streams.write_examples("examples.jsonl")
    name = "examples.jsonl" if verb == "attribute" else "scores.jsonl"
    whole = Path(name).read_bytes()
    refused(mi(verb, "none.jsonl"), 3, "none.jsonl", "no such file")
    refused(mi(verb, stdin=whole[: len(whole) // 2]), 3, "stdin")
    refused(mi(verb, stdin=b"".join(whole.splitlines(True)[:-1])), 3, "end line")
    refused(mi(verb, stdin=whole.replace(b"ioi", b"oio", 1)), 3, "mi stamp")
    refused(mi(verb, stdin=b""), 3, "mi cache")
    refused(mi(verb, "--no-such-flag", name), 2, "--no-such-flag", f"mi {verb} --help")
    wrong = "scores.jsonl" if verb == "attribute" else "examples.jsonl"
    refused(mi(verb, wrong), 3, "needed", "mi ")


def test_a_stream_cut_at_any_byte_is_refused(mi: Session) -> None:
    streams.write_scores("scores.jsonl")
    whole = Path("scores.jsonl").read_bytes()
    seed = int.from_bytes(os.urandom(4), "big")
    print("seed", seed)
    cuts = {1, len(whole) - 1, len(whole) - 2} | set(np.random.default_rng(seed).integers(1, len(whole), 40).tolist())
    for cut in sorted(cuts):
        assert mi("prune", stdin=whole[:cut]).code == 3, f"cut at byte {cut}, seed {seed}"


def test_scores_of_one_model_are_not_for_another_graph(mi: Session, scores: str) -> None:
    folder = model("stories260K")
    refused(mi("score", scores, "-m", folder), 3, "graph")
    mi("prune", scores, "-o", "circuit.jsonl").ok()
    refused(mi("score", "circuit.jsonl", "-m", folder), 3, "graph")


def changed(folder: Path, change: Any) -> None:
    """Change the weights of a model's folder in place."""
    import torch
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    weights = load_file(folder / "model.safetensors")
    name = next(key for key in weights if "mlp" in key and key.endswith("weight"))
    weights[name] = change(weights[name])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_new_checkpoint_is_measured_with_m_and_refused_without(mi: Session) -> None:
    import torch

    folder, data = model("stories260K"), task_file("pronoun_subject")
    line = f"cache -m {folder} --data {data} ! attribute --method eap ! prune --percent 5 --tee circuit.jsonl ! score"
    mi("pipe", line, "-o", "old.jsonl").ok()
    changed(folder, lambda w: w + 0.01 * torch.randn_like(w))
    refused(mi("score", "circuit.jsonl", "-o", "new.jsonl"), 3, "weights", "-m")
    assert not Path("new.jsonl").exists()
    done = mi("score", "circuit.jsonl", "-m", folder, "-o", "new.jsonl").ok()
    assert "weights" in done.err
    old, new = (stream.read(f"{name}.jsonl", ("report",)).head["model"] for name in ("old", "new"))
    assert (new["from"], new["to"]) == (old["weights"], new["weights"])
    assert new["weights"] != old["weights"]
    assert summaries("new.jsonl")["faithfulness"]["value"] != summaries("old.jsonl")["faithfulness"]["value"]


def test_weights_that_are_no_numbers_are_found(mi: Session) -> None:
    folder, data = model("stories260K"), task_file("pronoun_subject")
    changed(folder, lambda w: w.fill_(float("nan")))
    done = mi("cache", "-m", folder, "--data", data, "-o", "cache.jsonl")
    assert done.code in (3, 4)
    refused(done, done.code, "finite" if "finite" in done.err else "NaN")
    assert not Path("cache.jsonl").exists()


def rows(name: str) -> list[dict[str, str]]:
    with open(shared("data", "stories260K_tasks", f"{name}.csv")) as f:
        return list(csv.DictReader(f))


def test_pairs_of_unequal_length_are_refused_with_their_line(mi: Session) -> None:
    folder, found = model("stories260K"), rows("pronoun_subject")
    found[3]["corrupted"] = found[3]["clean"] + " and then he"
    with open("bad.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, found[0].keys())
        writer.writeheader()
        writer.writerows(found)
    refused(mi("cache", "-m", folder, "--data", "bad.csv"), 3, "bad.csv", "5")


def test_a_task_that_the_tokenizer_cannot_express_is_refused(mi: Session) -> None:
    refused(mi("cache", "-m", model("stories260K"), "--task", "greater-than"), 3, "token")


def test_ids_of_another_tokenizer_are_refused(mi: Session) -> None:
    data = shared("data", "eapig_data", "ioi_llama.csv")
    done = mi("cache", "-m", model("stories260K"), "--data", data)
    refused(done, 3, "ioi_llama.csv")


def test_bad_flags_are_found_before_any_work(mi: Session) -> None:
    refused(mi("cache", "--task", "ioi", "--device", "tpu"), 2, "tpu")
    refused(mi("cache", "--task", "no-such-task"), 2, "no-such-task", "ioi")
    refused(mi("cache", "--task", "ioi", "--data", "x.csv"), 2, "--task", "--data")
    refused(mi("cache", "--task", "ioi", "--site", "blocks.99.attn.z"), 2, "blocks.99.attn.z")
    refused(mi("cache", "--task", "ioi", "-m", "no/such/folder/here"), 3, "no/such/folder/here")
    refused(mi("attribute", "--metric", "accuracy", stdin=mi("data", "ioi", "-n", "4").out), 2, "accuracy")
    refused(mi("attribute", "--method", "eap", "--metric", "kl", stdin=mi("data", "ioi", "-n", "4").out), 2, "KL")


def test_a_site_is_read_back_in_python(mi: Session) -> None:
    import mi as package

    mi("cache", "--task", "ioi", "-n", "4", "--site", "blocks.1.attn.z", "-o", "acts.jsonl").ok()
    acts = package.load("acts.jsonl")
    config = json.loads((embedded.path("default") / "config.json").read_text())
    names = [name for name in acts.names() if name.endswith("blocks.1.attn.z")]
    assert names
    array = acts.numpy(names[0])
    assert array.shape[0] == 8
    assert array.shape[2:] == (config["n_head"], config["n_embd"] // config["n_head"])
    assert np.isfinite(array).all()


def test_dry_run_says_what_would_be_done_and_does_nothing(mi: Session) -> None:
    done = mi("cache", "--task", "ioi", "-n", "4", "--dry-run", "-o", "cache.jsonl").ok()
    assert "8" in done.err
    assert not Path("cache.jsonl").exists()
    assert not store.where().exists() or not list(store.where().rglob("*.jsonl"))
