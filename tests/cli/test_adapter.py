"""`mi adapter`, and a model whose architecture nobody knows: probed, its record saved, and the line run with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mi.core.sitewise.which import unknown
from mi.io import stream
from mi.io.models import Located
from tests.cli.conftest import Session
from tests.families.unknown import WORDS, unknown_model


@pytest.fixture
def folder() -> str:
    unknown_model(0).save_pretrained("aurora")
    return "aurora"


@pytest.fixture
def data() -> str:
    records = [
        {
            "id": f"e{row}",
            "clean": [(7 * row + 3 * i) % WORDS for i in range(6)],
            "corrupted": [(7 * row + 3 * i + 5 * (i == 1)) % WORDS for i in range(6)],
            "answers": [row],
            "foils": [row + 1],
            "split": ("train", "validation")[row % 2],
        }
        for row in range(6)
    ]
    Path("data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return "data.jsonl"


def probed(mi: Session, folder: str) -> str:
    mi("adapter", "probe", "-m", folder, "-o", "aurora.toml").ok()
    return "aurora.toml"


def test_the_line_runs_on_an_unknown_architecture_with_a_probed_adapter(mi: Session, folder: str, data: str) -> None:
    adapter = probed(mi, folder)
    cached = mi("cache", "-m", folder, "--data", data, "--adapter", adapter).ok()
    # What comes after needs no flag: the stream names the adapter, and holds it.
    mi("attribute", "-o", "scores.jsonl", stdin=cached.out).ok()
    mi("prune", "scores.jsonl", "--top", "20", "-o", "circuit.jsonl").ok()
    mi("score", "circuit.jsonl", "--data", data, "-o", "report.jsonl").ok()
    report = stream.read("report.jsonl", ("report",))
    named = report.head["model"]["adapter"]
    assert named["roles"]["queries_keys_values"] == ["gaze.ask", "gaze.offer", "gaze.give"]
    first = report.head["chain"][0]
    assert {"name", "sha256"} <= first["inputs"][-1].keys() and "aurora.toml" in json.dumps(first)


def test_without_an_adapter_it_says_what_cannot_be_found(mi: Session, folder: str, data: str) -> None:
    done = mi("cache", "-m", folder, "--data", data)
    assert done.code == 3
    assert "'aurora'" in done.err and "mi adapter probe" in done.err and "embed" in done.err


def test_sites_need_no_adapter(mi: Session, data: str) -> None:
    """A model that nobody knows runs all the same: its modules are sites, in every command that asks for sites."""
    from transformers import BloomConfig, BloomForCausalLM

    BloomForCausalLM(BloomConfig(vocab_size=WORDS, hidden_size=8, n_layer=2, n_head=2)).save_pretrained("bloom")
    assert "--site" in mi("cache", "-m", "bloom", "--data", data).err
    facts = json.loads(mi("info", "-m", "bloom", "--json").ok().text)
    assert {"transformer.h.0:output", "transformer.h.1.mlp:output"} <= {site["name"] for site in facts["sites"]}
    site = ("--site", "transformer.h.1:output")
    mi("cache", "-m", "bloom", "--data", data, *site, "-o", "c.jsonl").ok()
    cached = stream.read("c.jsonl", ("cache",))
    assert cached.head["caching"]["sites"] == ["transformer.h.1:output"] and "graph" not in cached.head
    mi("attribute", "c.jsonl", "--level", "site", "--method", "exact", *site, "--split", "all", "-o", "s.jsonl").ok()
    (record,) = stream.read("s.jsonl", ("scores",)).records
    baselines = [record["baseline"] for record in cached.records]
    change = sum(one["clean"] - one["corrupted"] for one in baselines) / len(baselines)
    assert record["score"] == pytest.approx(change, rel=1e-3)  # the last block's output is all that the logits read


@pytest.mark.parametrize(
    ("config", "none_known"),
    [
        ({"model_type": "falcon", "new_decoder_architecture": True, "num_ln_in_parallel_attn": None}, False),
        ({"model_type": "opt", "do_layer_norm_before": False}, True),
        ({"model_type": "opt"}, False),
        ({"model_type": "gemma3", "text_config": {}}, False),
        ({"model_type": "bloom"}, True),
    ],
)
def test_what_a_config_leaves_open_is_no_reason_to_know_no_adapter(
    tmp_path: Path, config: dict[str, object], none_known: bool
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert unknown(Located("m", None, tmp_path)) == none_known
    assert not unknown(Located("m", None, tmp_path), adapter=object())


def test_another_adapter_is_another_identity(mi: Session, folder: str, data: str) -> None:
    """What was kept for one record of roles is not given out for another."""
    adapter = probed(mi, folder)
    mi("cache", "-m", folder, "--data", data, "--adapter", adapter, "-o", "cache.jsonl").ok()
    mi("attribute", "cache.jsonl", "--adapter", adapter, "-o", "a.jsonl").ok()
    text = Path(adapter).read_text().replace('mlp_reads = ["muse.left", "muse.right"]', "mlp_reads = []")
    Path("other.toml").write_text(text)
    mi("attribute", "cache.jsonl", "--adapter", "other.toml", "-o", "b.jsonl").ok()
    one, two = (stream.read(name, ("scores",)).head["model"]["adapter"]["sha256"] for name in ("a.jsonl", "b.jsonl"))
    assert one != two
    Path("same.toml").write_text("# a remark\n" + Path(adapter).read_text())
    mi("attribute", "cache.jsonl", "--adapter", "same.toml", "-o", "c.jsonl").ok()
    assert stream.read("c.jsonl", ("scores",)).head["model"]["adapter"]["sha256"] == one


def test_a_record_that_lies_is_refused_when_it_is_used_first(mi: Session, folder: str, data: str) -> None:
    text = Path(probed(mi, folder)).read_text()
    Path("swapped.toml").write_text(text.replace('"gaze.ask", "gaze.offer"', '"gaze.give", "gaze.offer"'))
    done = mi("cache", "-m", folder, "--data", data, "--adapter", "swapped.toml")
    assert done.code == 3 and "does not fit" in done.err and done.out == b""


BROKEN = {
    "no toml": ("embed = = 3", "neither TOML nor JSON"),
    "not text": ("\x00\xff", "neither TOML nor JSON"),
    "a list": ("[1, 2]", "neither TOML nor JSON"),
    "json of nothing": ("{", "neither TOML nor JSON"),
    "deep": ('{"embed": ' + "[" * 3000 + "]" * 3000 + "}", "neither TOML nor JSON"),
    "a number for a path": ("embed = 3", "embed"),
    "a table for a path": ("[embed]\nx = 1", "embed"),
    "a float": ("position_offset = 1.5", "position_offset"),
    "unknown": ('nonsense = "words"', "nonsense is no role"),
    "code": ("embed = \"__import__('os')\"", "path of a module"),
    "attribute of a class": ('[ungroup]\n"gaze.forward" = true', "ungroup"),
    "two projections": ('queries_keys_values = ["gaze.ask", "gaze.give"]', "queries_keys_values"),
    "no such part": ('embed = "nowhere"', "embed"),
    "a block for a table": ('embed = "tower.0"', "does not fit"),
    "another family": ('families = ["llama"]', "aurora"),
    "no heads": ('heads = "depths"', "depths"),
    "heads that do not divide": ('heads = "hidden"', "does not fit"),
    "huge": ("# " + "x" * 70000, "larger than"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_every_broken_adapter_file_is_one_clear_error(mi: Session, folder: str, data: str, fault: str) -> None:
    change, said = BROKEN[fault]
    whole = Path(probed(mi, folder)).read_text()
    entry = change.partition(" =")[0]
    kept = [line for line in whole.splitlines() if not line.startswith(f"{entry} =")]
    is_entry = change.startswith("[ungroup]") or (
        " = " in change and not change.startswith("[") and "= =" not in change
    )
    text = "\n".join([*kept, change]) if is_entry else change
    Path("broken.toml").write_bytes(text.encode("latin-1"))
    done = mi("cache", "-m", folder, "--data", data, "--adapter", "broken.toml")
    assert done.code == 3, done.err
    assert said in done.err and "Traceback" not in done.err and done.err.count("\n") <= 2
    assert done.out == b""


def test_an_adapter_that_is_not_there(mi: Session, folder: str, data: str) -> None:
    done = mi("cache", "-m", folder, "--data", data, "--adapter", "nothing.toml")
    assert done.code == 3 and "nothing.toml" in done.err


def test_probe_says_what_it_could_not_find(mi: Session) -> None:
    """A scale on what is added to the stream: nothing writes that."""
    model = unknown_model(0)
    model.config.faint = True
    model.save_pretrained("faint")
    done = mi("adapter", "probe", "-m", "faint", "--json")
    assert done.code == 1
    facts = json.loads(done.text)
    assert "mlp" in facts["lacking"] and facts["record"]["heads_out"] == "gaze.say"
    assert all(identity["holds"] is None for identity in facts["identities"])


def test_show_prints_what_a_file_may_say(mi: Session) -> None:
    """What `show` prints of a known architecture is itself an adapter file of it."""
    text = mi("adapter", "show", "llama").ok().text
    Path("own.toml").write_text(text)
    assert mi("adapter", "show", "own.toml").ok().text == text
    assert json.loads(mi("adapter", "show", "gpt2", "--json").ok().text)["position"] == "transformer.wpe"
    assert mi("adapter", "show", "nobody").code == 2
    assert "gemma2" in mi("adapter").ok().text
