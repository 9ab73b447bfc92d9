"""The main line on trained models: what it finds, and that it finds the same again. In this process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mi import embedded
from mi.circuit.transformer import transformer_graph
from mi.io import store, stream
from tests.cli.conftest import Session
from tests.data_dir import shared
from tests.line.conftest import refused

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


def test_flags_that_only_a_run_can_judge_are_refused_before_it(mi: Session) -> None:
    refused(mi("cache", "--task", "ioi", "--device", "tpu"), 2, "tpu")
    refused(mi("attribute", "--metric", "accuracy", stdin=mi("data", "ioi", "-n", "4").out), 2, "accuracy")
    refused(
        mi("attribute", "--method", "eap", "--metric", "kl", stdin=mi("data", "ioi", "-n", "4").out), 2, "kl", "eap-ig"
    )
    refused(mi("cache", "--task", "ioi", "--site", "blocks.99.attn.z"), 2, "blocks.99.attn.z")
    refused(mi("cache", "--task", "ioi", "-m", "no/such/folder/here"), 3, "no/such/folder/here")


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
