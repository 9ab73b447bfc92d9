"""Models that are no decoder, from the shell: examples as tensors, `cache`, `patch`, `attribute` and `info`."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mi.io import blobs, stream
from tests.cli.conftest import Session
from tests.cli.test_patch import refused
from tests.oracle import modules as oracle
from tests.site_models import Case, random_case, random_module

N = 6


def saved(name: str, tensors: dict[str, Any]) -> str:
    """A file of examples."""
    save_file({key: torch.as_tensor(np.array(value)) for key, value in tensors.items()}, f"{name}.safetensors")
    return f"{name}.safetensors"


def tensors_of(case: Case) -> dict[str, Any]:
    made = {
        f"{run}.{name}": np.stack([getattr(e, run)[name] for e in case.examples])
        for run in ("clean", "corrupted")
        for name in case.examples[0].clean
    }
    return {**made, "answers": [e.answers[0] for e in case.examples], "foils": [[e.foils[0]] for e in case.examples]}


@pytest.fixture
def model(mi: Session, request: pytest.FixtureRequest) -> Case:
    """A model folder and a file of examples, in float64 both."""
    name = getattr(request, "param", "patchtst")
    case = random_case(name, 0, N)
    case.module.save_pretrained("model")
    config = json.loads(Path("model/config.json").read_text())
    assert config["architectures"] == [type(case.module).__name__]
    saved("data", tensors_of(case))
    return case


@pytest.mark.parametrize("model", ["bert", "vit", "patchtst"], indirect=True)
def test_from_tensors_to_scores(mi: Session, model: Case) -> None:
    """A file of tensors, a cache with activations, a map of effects and scores of sites, against hooks."""
    mi("data", "--from", "data.safetensors", "-o", "data.jsonl").ok()
    made = mi("cache", "data.jsonl", "-m", "model", "--site", "**.1:output", "--metric", "class-prob", "-o", "c.jsonl")
    assert made.ok().out == b""
    cache = stream.read("c.jsonl", ("cache",))
    site = next(name for name in cache.head["caching"]["sites"] if name.endswith(("layers.1:output", "layer.1:output")))
    kept = blobs.load(cache, "clean")[site]
    for row, (record, example) in enumerate(zip(cache.records, model.examples, strict=True)):
        expected = oracle.measure(model.module, "class-prob", example, example.corrupted)
        assert record["baseline"]["corrupted"] == pytest.approx(expected, abs=1e-9)
        np.testing.assert_allclose(kept[row], oracle.seen(model.module, example.clean, site)[0], rtol=0, atol=1e-9)
    effects = mi("patch", "c.jsonl", "--site", site, "--split", "all", "--denoising").ok()
    (record,) = stream.parse(effects.out.splitlines(True), "e", ("effects",)).records
    patched = [oracle.patched(model.module, "class-prob", e, site, None, False) for e in model.examples]
    corrupted = [oracle.measure(model.module, "class-prob", e, e.corrupted) for e in model.examples]
    assert record["site"] == site
    assert record["effect"] == pytest.approx(np.mean(patched) - np.mean(corrupted), abs=1e-9)
    mi("attribute", "c.jsonl", "--method", "exact", "--split", "all", "-o", "s.jsonl").ok()
    scores = {r["site"]: r for r in stream.read("s.jsonl", ("scores",)).records}
    losses = [
        oracle.measure(model.module, "class-prob", e, e.clean)
        - oracle.patched(model.module, "class-prob", e, site, None, True)
        for e in model.examples
    ]
    assert scores[site]["score"] == pytest.approx(np.mean(losses), abs=1e-9)
    assert scores[site]["se"] == pytest.approx(np.std(losses, ddof=1) / N**0.5, abs=1e-9)
    shown = mi("view", "s.jsonl", "--top", "3").ok().text
    assert "3 of " in shown and "sites" in shown and "± s.e." in shown
    assert site in mi("view", "s.jsonl", site).ok().text
    mi("verify", "c.jsonl", "s.jsonl").ok()


def test_positions_are_drawn_across(mi: Session, model: Case) -> None:
    mi("cache", "-m", "model", "--data", "data.safetensors", "-o", "c.jsonl").ok()
    words = ("patch", "c.jsonl", "--site", "blocks.*.resid_post", "--by", "site,position", "--split", "all")
    found = stream.parse(mi(*words).ok().out.splitlines(True), "e", ("effects",))
    assert [(r["site"], r["position"]) for r in found.records] == [
        (f"model.encoder.layers.{layer}:output", position) for layer in (0, 1) for position in range(4)
    ]
    Path("e.jsonl").write_bytes(mi(*words).ok().out)
    table = mi("view", "e.jsonl").ok().text.splitlines()
    assert table[1].split() == ["site", "0", "1", "2", "3"]
    assert [line.split()[0] for line in table[2:4]] == [f"model.encoder.layers.{layer}:output" for layer in (0, 1)]
    assert "<svg" in mi("view", "e.jsonl", "--svg").ok().text


def test_the_same_bytes_again_and_the_chain_makes_them(mi: Session, model: Case) -> None:
    line = ("attribute", "c.jsonl", "--method", "nap-ig", "--site", "blocks.*", "--site", "head:output")
    mi("cache", "-m", "model", "--data", "data.safetensors", "-o", "c.jsonl").ok()
    refused(mi(*line, "--fresh"), 2, "no site is called 'blocks.*'")
    line = ("attribute", "c.jsonl", "--method", "nap-ig", "--site", "blocks.*.*", "--site", "head:output")
    first = mi(*line, "--fresh").ok().out
    assert first == mi(*line).ok().out == mi(*line, "--fresh").ok().out
    piped = mi(
        "pipe",
        "cache -m model --data data.safetensors ! attribute --method nap-ig --site blocks.*.* --site head:output",
    )
    assert piped.ok().out == first
    head = stream.parse(first.splitlines(True), "s", ("scores",)).head
    assert (head["attribution"]["level"], head["attribution"]["steps"], head["graph"]["builder"]) == (
        "site",
        5,
        "sites",
    )
    assert [link["argv"][0] for link in head["chain"]] == ["cache", "attribute"]


def test_text_and_ids_and_names_of_classes(mi: Session) -> None:
    """An encoder with a tokenizer gets its own special tokens; a class has the name that the config gives it."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    case = random_case("bert", 3, 1)
    case.module.config.id2label = {0: "no", 1: "yes", 2: "maybe", 3: "never"}
    case.module.config.label2id = {"no": 0, "yes": 1, "maybe": 2, "never": 3}
    case.module.save_pretrained("model")
    words = {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "good": 3, "bad": 4, "film": 5}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    tokenizer.save("model/tokenizer.json")
    rows = [
        {"clean": "good film", "corrupted": "bad film", "answers": ["yes"], "foils": ["no"]},
        {"clean": [0, 3, 5, 1], "corrupted": [0, 4, 5, 1], "answers": [1], "foils": [0]},
    ]
    Path("pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mi("cache", "-m", "model", "--data", "pairs.jsonl", "--metric", "logit-diff", "-o", "c.jsonl").ok()
    first, second = stream.read("c.jsonl", ("cache",)).records
    logits = oracle.logits(case.module, {"input_ids": np.array([0, 3, 5, 1])})
    assert first["baseline"] == second["baseline"]
    assert first["baseline"]["clean"] == pytest.approx(float(logits[1] - logits[0]), abs=1e-9)
    # Without foils, which a file without a model can say nothing of: the answer's probability, unless another is named.
    Path("bare.jsonl").write_text("".join(json.dumps({**row, "foils": []}) + "\n" for row in rows))
    for words, metric in (((), "class-prob"), (("--metric", "kl"), "kl")):
        mi("cache", "-m", "model", "--data", "bare.jsonl", *words, "-o", "b.jsonl").ok()
        mi("attribute", "b.jsonl", "--method", "exact", "--split", "all", "-o", "s.jsonl").ok()
        head = stream.read("s.jsonl", ("scores",)).head
        assert (head["task"]["metric"], head["attribution"]["metric"]) == (metric, metric)
    mi("data", "--from", "bare.jsonl", "-o", "d.jsonl").ok()
    mi("patch", "d.jsonl", "-m", "model", "--split", "all", "-o", "p.jsonl").ok()
    assert stream.read("p.jsonl", ("effects",)).head["patching"]["metric"] == "class-prob"
    Path("bad.jsonl").write_text(json.dumps({**rows[0], "answers": ["perhaps"]}) + "\n")
    refused(mi("cache", "-m", "model", "--data", "bad.jsonl"), 3, "'perhaps', which is no class", "no, yes")
    Path("bad.jsonl").write_text(json.dumps({**rows[0], "clean": "good good film"}) + "\n")
    refused(mi("cache", "-m", "model", "--data", "bad.jsonl"), 3, "shape of input_ids: [5] and [4]")


CODE = """
    import torch
    from torch import nn

    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(2))
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            for layer in self.layers:
                x = x + torch.tanh(layer(x))
            return self.head(x.mean(1))

    def build():
        return Small()

    def broken():
        raise ValueError("no such thing")

    def number():
        return 3
"""


@pytest.fixture
def code(mi: Session) -> dict[str, Any]:
    Path("small.py").write_text(textwrap.dedent(CODE))
    torch.manual_seed(0)
    names = {"layers.0": (4, 4), "layers.1": (4, 4), "head": (3, 4)}
    weights = {f"{n}.weight": torch.randn(shape) for n, shape in names.items()}
    weights |= {f"{n}.bias": torch.randn(shape[0]) for n, shape in names.items()}
    save_file(weights, "small.safetensors")
    x = np.random.default_rng(0).standard_normal((2, 5, 3, 4)).astype(np.float32)
    saved("series", {"clean.x": x[0], "corrupted.x": x[1], "answers": [0, 1, 2, 0, 1], "split": [0, 0, 0, 1, 2]})
    return weights


def test_a_module_that_a_function_returns(mi: Session, code: dict[str, Any]) -> None:
    """Code runs only when the command line says so; the weights are those beside it, and so is the identity."""
    words = ("cache", "-m", "small.py:build", "--data", "series.safetensors")
    refused(mi(*words), 2, "runs the code in small.py", "--trust-remote-code")
    mi(*words, "--trust-remote-code", "-o", "c.jsonl").ok()
    cache = stream.read("c.jsonl", ("cache",))
    assert cache.head["model"]["id"] == "small.py:build"
    assert cache.head["task"]["metric"] == "class-prob"
    assert cache.head["examples"]["n"] == {"train": 3, "validation": 1, "test": 1}
    clean = torch.from_numpy(blobs.load(cache, "inputs")["clean.x"].copy())
    for layer in (0, 1):
        clean = clean + torch.tanh(clean @ code[f"layers.{layer}.weight"].T + code[f"layers.{layer}.bias"])
    expected = (clean.mean(1) @ code["head.weight"].T + code["head.bias"]).softmax(-1)
    answers = [record["answers"][0] for record in cache.records]
    found = [record["baseline"]["clean"] for record in cache.records]
    np.testing.assert_allclose(found, expected[range(5), answers], rtol=0, atol=1e-6)
    refused(mi("patch", "c.jsonl"), 2, "--trust-remote-code")
    mi("patch", "c.jsonl", "--trust-remote-code", "-o", "e.jsonl").ok()
    assert stream.read("e.jsonl", ("effects",)).head["patching"]["n"] == 3
    with Path("small.py").open("a") as file:
        file.write("\n# another version\n")
    refused(mi("patch", "c.jsonl", "--trust-remote-code"), 3, "are not those that made the stream")


def test_code_that_makes_no_module(mi: Session, code: dict[str, Any]) -> None:
    words = ("cache", "--trust-remote-code", "--data", "series.safetensors", "-m")
    refused(mi(*words, "small.py:broken"), 3, "small.py:broken fails: ValueError: no such thing")
    refused(mi(*words, "small.py:number"), 3, "returns a int", "torch.nn.Module")
    refused(mi(*words, "small.py:nothing"), 3, "no function nothing")
    refused(mi(*words, "none.py:build"), 2, "--revision")
    refused(mi("cache", "--data", "series.safetensors", "-m", "none.py:build"), 3, "there is no file none.py")
    refused(mi("cache", "--data", "series.safetensors", "-m", "small.py"), 3, "small.py:build")
    save_file({**code, "extra": torch.ones(1)}, "small.safetensors")
    refused(mi(*words, "small.py:build"), 3, "has no place in the module for extra")
    save_file({k: v for k, v in code.items() if k != "head.bias"}, "small.safetensors")
    refused(mi(*words, "small.py:build"), 3, "lacks head.bias")
    save_file({**code, "head.bias": torch.ones(4)}, "small.safetensors")
    refused(mi(*words, "small.py:build"), 3, "does not fit the module", "head.bias")
    Path("small.safetensors").unlink()
    refused(mi(*words, "small.py:build"), 3, "has no weights", "save_file(module.state_dict(), 'small.safetensors')")


def test_info_lists_the_sites_with_shapes(mi: Session, code: dict[str, Any]) -> None:
    random_module("patchtst", 0).save_pretrained("patchtst")
    shown = mi("info", "-m", "patchtst").ok().text
    assert "sites only" in shown and "shapes for an input of past_values [batch, 24, 2]" in shown
    facts = json.loads(mi("info", "-m", "patchtst", "--json").ok().text)
    shapes = {site["name"]: site["shape"] for site in facts["sites"]}
    assert shapes["model.encoder.layers.1:output"] == ["batch", 2, 4, 8]
    assert shapes["model.encoder.layers.1.self_attn:output"] == ["batch x 2", 4, 8]
    words = ("info", "-m", "small.py:build", "--trust-remote-code")
    assert "no shapes" in mi(*words).ok().text
    facts = json.loads(mi(*words, "--data", "series.safetensors", "--json").ok().text)
    assert {site["name"]: site["shape"] for site in facts["sites"]}["layers.1:output"] == ["batch", 3, 4]
    assert [site.get("aliases") for site in facts["sites"]][:2] == [["blocks.0.resid_pre"], ["blocks.0.resid_post"]]


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (("cache", "-m", "model", "--task", "ioi"), 2, ["is a PatchTSTForClassification", "--data"]),
        (("cache", "-m", "model", "--data", "data.safetensors", "--site", "none"), 2, ["no site is called 'none'"]),
        (("patch", "c.jsonl", "--by", "layer,head"), 2, ["layers and heads"]),
        (("cache", "-m", "model", "--data", "data.safetensors", "--executor", "fast"), 2, ["nnsight's traces"]),
        (("attribute", "c.jsonl", "--executor", "fast"), 2, ["nnsight's traces"]),
        (("patch", "c.jsonl", "--executor", "fast"), 2, ["nnsight's traces"]),
        (("patch", "c.jsonl", "--template", "x"), 3, ["template 'x'"]),
        (("patch", "c.jsonl", "--length", "4"), 3, ["4 tokens"]),
        (("patch", "c.jsonl", "--site", "z", "--site", "q"), 2, ["patched alone"]),
        (("attribute", "c.jsonl", "--level", "edge"), 3, ["no graph of edges", "--level site"]),
        (("attribute", "c.jsonl", "--level", "node", "--site", "x"), 2, ["--site names sites"]),
        (("attribute", "c.jsonl", "--method", "atp-star", "--level", "site"), 2, ["atp-star scores no sites"]),
        (("attribute", "c.jsonl", "--method", "relp"), 2, ["relp scores no sites"]),
        (("attribute", "c.jsonl", "--ablation", "zero", "--method", "eap"), 2, ["not by 'zero'"]),
        (("attribute", "c.jsonl", "--level", "site", "--shard", "1/2"), 2, ["sites take no --shard; leave it away"]),
        (
            ("attribute", "c.jsonl", "--level", "site", "--compat", "mib", "--top", "3"),
            2,
            ["sites take no --compat and no --top; leave them away"],
        ),
        (("attribute", "c.jsonl", "--metric", "accuracy"), 2, ["has no gradient"]),
        (("search", "c.jsonl"), 3, ["no graph of edges"]),
        (("adapter", "probe", "-m", "model"), 3, ["no graph of edges"]),
        (("data", "filter", "c.jsonl", "-m", "model"), 3, ["no graph of edges"]),
        (("prune", "s.jsonl"), 3, ["scores of sites"]),
        (("score", "s.jsonl"), 3, ["no graph of edges"]),
        (("merge", "--mean", "s.jsonl", "s.jsonl"), 3, ["scores of sites"]),
    ],
)
def test_what_does_not_apply_is_refused(mi: Session, model: Case, words: Any, code: int, parts: list[str]) -> None:
    if "c.jsonl" in words or "s.jsonl" in words:
        mi("cache", "-m", "model", "--data", "data.safetensors", "-o", "c.jsonl").ok()
    if "s.jsonl" in words:
        mi("attribute", "c.jsonl", "--method", "nap", "--split", "all", "-o", "s.jsonl").ok()
    refused(mi(*words), code, *parts)


def test_dry_runs_say_what_would_be_done(mi: Session, model: Case) -> None:
    done = mi("cache", "-m", "model", "--data", "data.safetensors", "--dry-run").ok()
    assert f"2 forward passes over {N} examples" in done.err and not done.out
    mi("cache", "-m", "model", "--data", "data.safetensors", "-o", "c.jsonl").ok()
    dry = mi("attribute", "c.jsonl", "--method", "nap-ig", "--steps", "4", "--split", "all", "--dry-run").ok()
    assert f"6 forward and 4 backward passes over {N} examples" in dry.err
    dry = mi("attribute", "c.jsonl", "--method", "exact", "--split", "all", "--dry-run").ok()
    assert "2 forward passes, and 1 forward for each site" in dry.err
    assert "cut to --memory-budget" in dry.err
    assert "one for each place" in mi("patch", "c.jsonl", "--dry-run", "--split", "all").ok().err


def test_sites_of_a_decoder_too(mi: Session) -> None:
    """The embedded model has a graph, and its modules can be scored and patched by name all the same."""
    mi(
        "cache",
        "--task",
        "ioi",
        "-n",
        "4",
        "--site",
        "blocks.*.attn.z",
        "--site",
        "blocks.0.resid_pre",
        "-o",
        "c.jsonl",
    ).ok()
    named = stream.read("c.jsonl", ("cache",)).head["caching"]["sites"]
    assert named == [*(f"blocks.{layer}.attn.z" for layer in range(4)), "blocks.0.resid_pre"]
    refused(mi("cache", "--task", "ioi", "--site", "blocks.*.attn.y"), 2, "no site is called 'blocks.*.attn.y'")
    folder = Path("model.jsonl")
    mi("attribute", "c.jsonl", "--level", "site", "--site", "transformer.h.*:output", "--limit", "2", "-o", folder).ok()
    names = [record["site"] for record in stream.read(str(folder), ("scores",)).records]
    assert names == [f"transformer.h.{layer}:output" for layer in range(4)]
    effects = mi("patch", "c.jsonl", "--site", "transformer.h.3:output", "--limit", "2").ok().out
    (record,) = stream.parse(effects.splitlines(True), "e", ("effects",)).records
    whole = mi("patch", "c.jsonl", "--site", "resid_post", "--by", "layer", "--limit", "2").ok().out
    wanted = stream.parse(whole.splitlines(True), "e", ("effects",)).records[3]
    assert record["effect"] == pytest.approx(wanted["effect"], abs=1e-4)
    assert record["effect"] != 0


def test_files_of_tensors_that_are_none(mi: Session) -> None:
    x = np.zeros((3, 2), dtype=np.float32)
    good = {"clean.x": x, "corrupted.x": x, "answers": np.zeros(3, dtype=np.int64)}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"answers": np.zeros(3, dtype=np.int64)}, "holds no tensor clean.NAME"),
        ({**good, "clean.y": x}, "only one of clean.y and corrupted.y"),
        ({**good, "corrupted.x": x[:, :1]}, "clean.x is F32 [3, 2] and corrupted.x is F32 [3, 1]"),
        ({**good, "clean.y": x[:2], "corrupted.y": x[:2]}, "clean.y has the shape [2, 2]"),
        ({**good, "answers": np.zeros(2, dtype=np.int64)}, "answers is I64 [2]"),
        ({**good, "answers": np.zeros(3, dtype=np.float32)}, "answers is F32 [3]"),
        ({**good, "split": np.array([0, 1, 7])}, "other numbers than 0, 1 and 2"),
        ({**good, "label": np.zeros(3)}, "holds a tensor label"),
    ]
    for tensors, words in cases:
        saved("bad", tensors)
        refused(mi("data", "--from", "bad.safetensors"), 3, "bad.safetensors", words)
    saved("bad", {**good, "clean.x": np.full_like(x, np.nan)})
    refused(mi("data", "--from", "bad.safetensors"), 4, "not finite")
    Path("bad.safetensors").write_bytes(b"not tensors")
    refused(mi("data", "--from", "bad.safetensors"), 3, "bad.safetensors")
    refused(mi("data", "--from", "none.safetensors"), 3, "none.safetensors")
    saved("good", good)
    refused(mi("data", "--from", "good.safetensors", "--from", "good.safetensors"), 2, "read alone")
    many = {**good, "answers": np.array([[0, 1], [1, -1], [2, 2]]), "foils": np.array([2, 0, -1])}
    saved("many", many)
    found = stream.parse(mi("data", "--from", "many.safetensors").ok().out.splitlines(True), "d", ("examples",))
    assert [(r["answers"], r["foils"]) for r in found.records] == [([0, 1], [2]), ([1], [0]), ([2], [])]
    assert found.head["task"]["metric"] == "class-prob"
    assert len({record["id"] for record in found.records}) == 3


def test_the_digest_of_examples_is_of_their_content(mi: Session, model: Case) -> None:
    """Another number in the file is another set of examples; a row that is not what its record says is refused."""
    first = stream.parse(mi("data", "--from", "data.safetensors").ok().out.splitlines(True), "d", ("examples",))
    changed = tensors_of(model)
    changed["clean.past_values"][2, 0, 0] += 1
    saved("other", changed)
    second = stream.parse(mi("data", "--from", "other.safetensors").ok().out.splitlines(True), "d", ("examples",))
    assert first.head["examples"]["sha256"] != second.head["examples"]["sha256"]
    same = [a["clean"]["sha256"] == b["clean"]["sha256"] for a, b in zip(first.records, second.records, strict=True)]
    assert same == [row != 2 for row in range(N)]
    stream.write("mixed.jsonl", first.head, first.records, {"inputs": blobs.load(second, "inputs")})
    refused(
        mi("cache", "-m", "model", "--data", "mixed.jsonl"), 3, "mixed.jsonl:4", "row 2", "not what the record says"
    )
    stream.write("none.jsonl", first.head, first.records)
    refused(mi("cache", "-m", "model", "--data", "none.jsonl"), 3, "none.jsonl:2", "which the stream lacks")


def test_a_rehearsal_of_a_remote_run(mi: Session) -> None:
    """The embedded model by `--remote local`: the same numbers, and the flag in the chain."""
    mi(
        "cache", "--task", "ioi", "-n", "4", "--remote", "local", "--site", "transformer.h.*:output", "-o", "r.jsonl"
    ).ok()
    mi("cache", "--task", "ioi", "-n", "4", "-o", "c.jsonl").ok()
    far, near = (stream.read(f"{name}.jsonl", ("cache",)) for name in "rc")
    assert far.head["examples"] == near.head["examples"]
    argv = far.head["chain"][-1]["argv"]
    assert argv[argv.index("--remote") + 1] == "local"
    for a, b in zip(far.records, near.records, strict=True):
        assert a["baseline"]["clean"] == pytest.approx(b["baseline"]["clean"], abs=1e-4)
    scores = mi("attribute", "r.jsonl", "--remote", "local", "--limit", "2", "--method", "nap").ok().out
    found = stream.parse(scores.splitlines(True), "s", ("scores",))
    here = mi("attribute", "r.jsonl", "--site", "blocks.*.resid_post", "--limit", "2", "--method", "nap").ok().out
    wanted = stream.parse(here.splitlines(True), "s", ("scores",))
    assert [r["site"] for r in found.records] == [f"transformer.h.{layer}:output" for layer in range(4)]
    for a, b in zip(found.records, wanted.records, strict=True):
        assert a["score"] == pytest.approx(b["score"], abs=1e-3)
    effects = mi("patch", "r.jsonl", "--remote=local", "--limit", "2", "--site", "resid_pre").ok().out
    assert len(stream.parse(effects.splitlines(True), "e", ("effects",)).records) == 4


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        (("cache", "--task", "ioi", "--remote"), 3, ["default is on this machine", "hub id"]),
        (("cache", "-m", "model", "--task", "ioi", "--remote"), 3, ["model is on this machine"]),
        (("cache", "-m", "gpt2", "--remote", "--task", "ioi"), 4, ["NDIF_API_KEY is not set", "--remote local"]),
        (("cache", "-m", "gpt2", "--remote=nowhere", "--task", "ioi"), 2, ["nothing remote is called 'nowhere'"]),
        (("attribute", "c.jsonl", "--remote"), 3, ["default is on this machine"]),
        (
            ("attribute", "c.jsonl", "--remote", "local", "--level", "node"),
            2,
            ["need the weights here", "--level site"],
        ),
        (("patch", "c.jsonl", "--remote", "local", "--site", "z"), 2, ["needs the weights here"]),
        (("patch", "c.jsonl", "-m", "gpt2", "--remote"), 4, ["NDIF_API_KEY is not set"]),
    ],
)
def test_remote_runs_that_cannot_be(
    mi: Session, words: Any, code: int, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnsight.schema.config import CONFIG

    monkeypatch.delenv("NDIF_API_KEY", raising=False)
    monkeypatch.setattr(CONFIG.API, "APIKEY", None)
    Path("model").mkdir()
    if "c.jsonl" in words:
        mi("cache", "--task", "ioi", "-n", "2", "-o", "c.jsonl").ok()
    refused(mi(*words), code, *parts)


def test_a_server_that_does_not_answer(mi: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDIF_API_KEY", "a key")
    monkeypatch.setenv("NDIF_HOST", "http://127.0.0.1:9")
    words = ("cache", "-m", "gpt2", "--task", "ioi", "--remote")
    refused(mi(*words), 4, "http://127.0.0.1:9 does not answer", "nothing was run here instead")


def test_what_cannot_be_rehearsed(mi: Session, model: Case) -> None:
    words = ("cache", "-m", "model", "--data", "data.safetensors", "--remote", "local")
    refused(mi(*words), 3, "a PatchTSTForClassification cannot be run remotely")


def test_a_model_that_is_spread(mi: Session, model: Case) -> None:
    """`--device-map`: by sites, with the numbers of one device."""
    pytest.importorskip("accelerate")
    words = ("cache", "-m", "model", "--data", "data.safetensors", "-o")
    mi(*words, "here.jsonl").ok()
    Path("map.json").write_text(json.dumps({"model": "disk", "head": "cpu"}))
    mi(*words, "c.jsonl", "--device-map", "map.json").ok()
    here, apart = (stream.read(f"{name}.jsonl", ("cache",)) for name in ("here", "c"))
    for a, b in zip(here.records, apart.records, strict=True):
        assert a["baseline"]["clean"] == pytest.approx(b["baseline"]["clean"], abs=1e-12)
    scores = [
        stream.parse(mi("attribute", "c.jsonl", "--method", "nap", *flags).ok().out.splitlines(True), "s", ("scores",))
        for flags in (("--device-map", "map.json"), ("--site", "**:output"))
    ]
    for a, b in zip(scores[0].records, scores[1].records, strict=True):
        assert (a["site"], a["score"]) == (b["site"], pytest.approx(b["score"], abs=1e-12))
    refused(mi("attribute", "c.jsonl", "--device-map", "auto", "--level", "edge"), 3, "no graph of edges")
    refused(mi(*words, "d.jsonl", "--device-map", "auto", "--device", "cpu"), 2, "--device-map and --device")
    refused(mi(*words, "d.jsonl", "--device-map", "auto", "--remote", "local"), 2, "--device-map and --remote")
    refused(mi(*words, "d.jsonl", "--device-map", "some"), 2, "no way to spread a model")
