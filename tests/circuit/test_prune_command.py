"""`mi prune` from scores to circuit: what it keeps, what it records, what it says, what it refuses."""

import hashlib
import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from safetensors.numpy import load_file

from mi.circuit import reading, stability
from mi.circuit.graph import explicit_graph
from mi.circuit.levels import Units
from mi.circuit.transformer import transformer_graph
from mi.io import stream
from mi.io.blobs import Blob
from mi.run import run
from tests.circuit.random_graphs import SEEDS, any_graph, generator, named_pairs, pairs_of, random_scores, roots_of
from tests.data_dir import shared
from tests.oracle import selection as oracle

GRAPH = transformer_graph(3, 4, d_model=32)


def head_of(graph, kind="scores"):
    link = {"id": "0123456789abcdef", "prev": None, "argv": ["attribute"], "inputs": [], "version": "0", "env": {}}
    attribution = {"method": "eap", "level": "edge", "ablation": "counterfactual"}
    return {"kind": kind, "graph": graph.head(), "attribution": attribution, "chain": [link], "task": {"name": "ioi"}}


def write_scores(path, graph, scores, head=None):
    scores = np.asarray(scores, dtype=np.float32)
    arrays = {"edge": scores, "edge_shards": scores[None].astype(np.float64), "shard_n": np.array([1])}
    tensors = {"scores": arrays, **({"graph": graph.table()} if graph.builder == "explicit" else {})}
    stream.write(str(path), head or head_of(graph), [], tensors)
    return path


def write_records(path, graph, records, kind="scores"):
    stream.write(str(path), head_of(graph, kind), records)
    return path


@pytest.fixture
def scores(tmp_path):
    """Scores without ties on a graph of 262 edges, and their file."""
    values = np.random.default_rng(1).standard_t(3, size=GRAPH.n_edges).astype(np.float32)
    return values, write_scores(tmp_path / "scores.jsonl", GRAPH, values)


def prune(file, *words):
    """Run the command; the circuit that it wrote."""
    out = Path(file).parent / "out.jsonl"
    assert run("prune", [str(file), *words, "-o", str(out)]) == 0
    return stream.read(str(out), ("circuit",))


def refused(capsys, file, *words):
    """Run a command that must fail and leave nothing; its exit code and its message."""
    out = Path(file).parent / "refused.jsonl"
    code = run("prune", [str(file), *words, "-o", str(out)])
    assert code != 0
    assert list(out.parent.glob("refused*")) == []
    return code, capsys.readouterr().err


def names(circuit):
    return [f"{record['src']}->{record['dst']}" for record in circuit.records]


def expected(graph, values, chosen, absolute):
    """What is left of the chosen edges, best first."""
    left = oracle.prune(pairs_of(graph), chosen, roots_of(graph))
    order = sorted(left, key=lambda edge: (-oracle.value_of(values[edge], absolute), edge))
    return ["->".join(named_pairs(graph)[edge]) for edge in order]


@pytest.mark.parametrize("seed", SEEDS)
def test_every_rule_equals_the_loops(seed, tmp_path):
    rng = generator(seed)
    for turn in range(3):
        graph = any_graph(rng)
        values = random_scores(rng, graph.n_edges).tolist()
        file = write_scores(tmp_path / f"{turn}.jsonl", graph, values)
        n, limit = int(rng.integers(0, graph.n_edges + 1)), float(rng.normal())
        for absolute, flags in ((True, []), (False, ["--signed"])):
            rules = {
                ("--top", str(n)): oracle.top(values, n, absolute),
                ("--percent", "30"): oracle.top(values, graph.n_edges * 30 // 100, absolute),
                (): oracle.top(values, graph.n_edges * 10 // 100, absolute),
                ("--threshold", repr(limit)): oracle.threshold(values, limit, absolute),
                ("--greedy", str(n)): oracle.greedy(pairs_of(graph), values, n, absolute),
            }
            for words, chosen in rules.items():
                circuit = prune(file, *words, *flags)
                assert names(circuit) == expected(graph, values, chosen, absolute), (words, flags)
                selection = circuit.head["selection"]
                assert selection["selected"] == len(chosen)
                assert selection["realised"] == len(circuit.records)
                assert selection["signed"] is not absolute
                assert reading.graph_of(circuit).digest == graph.digest


@pytest.mark.parametrize("model", ["gpt2-tiny", "llama-tiny", "neox-tiny"])
def test_circuits_of_the_reference(model, tmp_path):
    reference = json.loads(shared("golden", model, "reference.json").read_text())
    dense = load_file(shared("golden", model, "reference.safetensors"))["scores.eap_ig_inputs_m5"]
    cfg = reference["cfg"]
    graph = transformer_graph(cfg["n_layers"], cfg["n_heads"], cfg["parallel_attn_mlp"], cfg["d_model"])
    file = write_scores(tmp_path / "scores.jsonl", graph, dense[graph.edges[0], graph.edges[1]])
    for mode, flags in (("signed", ["--signed"]), ("absolute", [])):
        for selection in reference["circuits"][mode]["selections"]:
            circuit = prune(file, "--top", str(selection["n_requested"]), *flags)
            assert sorted(names(circuit)) == sorted(selection["kept_edges"])


def test_the_head_says_what_was_asked_and_what_came_of_it(scores):
    values, file = scores
    circuit = prune(file)
    assert circuit.head["selection"] == {
        "rule": "top",
        "level": "edge",
        "signed": False,
        "requested": 26,
        "selected": 26,
        "realised": len(circuit.records),
        "edges": 262,
        "percent": 10.0,
    }
    assert 0 < len(circuit.records) < 26
    assert prune(file, "--threshold", "1.5", "--signed", "--drop", "m0").head["selection"] == {
        "rule": "threshold",
        "level": "edge",
        "signed": True,
        "requested": (n := int(((values >= 1.5) & ~np.array(["m0" in name for name in GRAPH.edge_names()])).sum())),
        "selected": n,
        "realised": len(stream.read(str(file.parent / "out.jsonl"), ("circuit",)).records),
        "edges": 262,
        "threshold": 1.5,
        "drop": ["m0"],
    }
    head = circuit.head
    assert (head["kind"], head["task"], head["attribution"]["method"]) == ("circuit", {"name": "ioi"}, "eap")
    assert [link["argv"] for link in head["chain"]] == [["attribute"], ["prune"]]
    assert head["chain"][1]["prev"] == "0123456789abcdef"
    assert prune(file, "--top", "9", "--signed").head["chain"][1]["argv"] == ["prune", "--top", "9", "--signed"]


def test_scores_come_out_as_they_went_in(scores):
    values, file = scores
    for record in prune(file).records:
        assert np.float32(record["score"]) == values[GRAPH.edge_index(f"{record['src']}->{record['dst']}")]
        assert record["score"] == float(np.float32(record["score"]))


def test_exact_size(scores):
    values, file = scores
    loose, exact = prune(file, "--top", "30"), prune(file, "--top", "30", "--exact-size")
    size, nominal = oracle.exact_size(
        pairs_of(GRAPH), lambda n: oracle.top(values.tolist(), n, True), 30, GRAPH.n_edges
    )
    assert len(loose.records) < len(exact.records) == size <= 30
    selection = exact.head["selection"]
    assert (selection["requested"], selection["selected"], selection["realised"]) == (30, nominal, size)
    assert selection["exact_size"] is True
    assert len(prune(file, "--greedy", "30", "--exact-size").records) <= 30
    assert len(prune(file, "--percent", "11.5", "--exact-size").records) == size


def test_keep_and_drop(scores, capsys):
    values, file = scores
    weakest = GRAPH.edge_name(int(np.argmin(np.abs(values))))
    strongest = names(prune(file))[0]
    assert weakest not in names(prune(file, "--top", "200"))
    kept = prune(file, "--top", "200", "--keep", weakest)
    assert weakest in names(kept)
    assert names(kept)[-1] == weakest  # in its place by score, not in front
    assert kept.head["selection"]["keep"] == [weakest]
    dropped = prune(file, "--drop", strongest, "--drop", "m1")
    assert strongest not in names(dropped)
    assert not [name for name in names(dropped) if "m1" in name]
    capsys.readouterr()
    both = prune(file, "--keep", "input->logits", "--drop", "input")
    assert both.records == []
    assert "--keep" not in capsys.readouterr().err
    assert prune(file, "--top", "1", "--keep", "m1->m2").records == []
    assert "1 of the 1 edges that --keep names lie on no path" in capsys.readouterr().err


def test_scored_edges_pass_through_with_all_their_fields(tmp_path):
    path = [("input", "a0.h1<q>", 0.5), ("a0.h1", "m2", -2.0), ("m2", "logits", 1.0), ("input", "logits", 0.25)]
    records = [{"src": s, "dst": d, "score": v, "note": {"rank": [i]}} for i, (s, d, v) in enumerate(path)]
    records.append({"src": "input", "dst": "m1", "score": 9.0, "note": None})
    file = write_records(tmp_path / "edges.jsonl", GRAPH, records)
    assert prune(file).records == [records[i] for i in (1, 2, 0, 3)]
    assert prune(file, "--top", "4").records == [records[i] for i in (1, 2, 0)]
    assert prune(file, "--signed", "--threshold", "0.4").records == []
    assert prune(file, "--top", "262").head["selection"]["selected"] == 5


def test_a_circuit_can_be_made_smaller(scores):
    _values, file = scores
    large = prune(file, "--top", "120")
    larger = file.parent / "large.jsonl"
    shutil.copy(file.parent / "out.jsonl", larger)
    small = prune(larger, "--top", "20")
    assert names(small) == names(prune(file, "--top", "20"))
    assert [link["argv"][0] for link in small.head["chain"]] == ["attribute", "prune", "prune"]
    assert small.head["selection"]["requested"] == 20
    assert prune(larger, "--threshold", "0").records == large.records


def test_an_explicit_graph_travels_with_the_circuit(tmp_path):
    graph = explicit_graph(["input", "m0/f7", "logits"], ["m0/f7", "logits"], [1, 2], np.array([[0, 1, 0], [0, 1, 1]]))
    file = write_scores(tmp_path / "scores.jsonl", graph, [2.0, 3.0, 1.0])
    circuit = prune(file, "--top", "2")
    assert names(circuit) == ["m0/f7->logits", "input->m0/f7"]
    assert list(circuit.blobs) == ["graph"]
    assert reading.circuit_of(circuit, reading.graph_of(circuit)).tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--top", "0"], "0 of the graph's 262 edges were asked for"),
        (["--top", "1"], "the 1 chosen edges make no path"),
        (["--threshold", "1e9"], "no score reaches 1e+09"),
        (["--top", "1", "--exact-size"], "the first circuit on the ranking has more than 1 edges"),
        (["--drop", "*"], "there is no edge to choose from"),
    ],
)
@pytest.mark.parametrize("quiet", [[], ["-q"]])
def test_an_empty_circuit_is_written_and_said(scores, capsys, words, why, quiet):
    values, file = scores
    assert GRAPH.edge_name(int(np.argmax(np.abs(values)))) != "input->logits"
    circuit = prune(file, *words, *quiet)
    assert circuit.records == []
    assert circuit.head["selection"]["realised"] == 0
    err = capsys.readouterr().err
    assert "warning: the circuit is EMPTY" in err
    assert why in err


def test_nothing_is_said_without_need(scores, capsys):
    prune(scores[1])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--top", "3", "--percent", "4"], "--top and --percent contradict each other"),
        (["--greedy", "3", "--threshold", "4", "--top", "1"], "--top and --threshold and --greedy contradict"),
        (["--threshold", "1", "--exact-size"], "--exact-size needs a size"),
        (["--threshold", "nan"], "--threshold nan"),
        (["--threshold", "inf"], "--threshold inf"),
        (["--percent", "nan"], "--percent nan"),
        (["--percent", "101"], "percent"),
        (["--percent", "-1"], "percent"),
        (["--top", "-1"], "top"),
        (["--top", "1.5"], "top"),
        (["--top", "263"], "263 edges were asked for, the graph has 262"),
        (["--greedy", "263"], "263 edges were asked for, the graph has 262"),
        (["--keep", "a7.*"], "--keep 'a7.*' matches no edge or node"),
        (["--drop", "a7.*"], "--drop 'a7.*' matches no edge or node"),
        (["--top", "3", "--keep", "m0"], "edges are always kept, more than the 3"),
        (["--top", "3", "--ilp", "--exact-size"], "--ilp and --exact-size contradict"),
        (["--greedy", "3", "--ilp"], "--ilp and --greedy contradict"),
        (["--threshold", "1", "--ilp"], "--ilp needs a size"),
        (["--gap", "0.1"], "--gap means nothing without --ilp"),
        (["--time-limit", "9"], "--time-limit means nothing without --ilp"),
        (["--ilp", "--gap", "nan"], "--gap nan is not a number"),
        (["--greedy", "3", "--positive-ratio", "0.5"], "--positive-ratio and --greedy contradict"),
        (["--signed", "--positive-ratio", "0.5"], "--positive-ratio and --signed contradict"),
        (["--threshold", "1", "--positive-ratio", "0.5"], "--positive-ratio needs a size"),
        (["--positive-ratio", "1.5"], "positive-ratio"),
        (["--stable-by", "sign"], "--stable-by means nothing without --stable"),
        (["--resamples", "9"], "--resamples means nothing without --stable"),
        (["--threshold", "1", "--stable", "0.9", "--stable-by", "inclusion"], "--stable-by inclusion needs a size"),
        (["--ilp", "--top", "1", "--keep", "m0->m1"], "no circuit of this size holds all that --keep names"),
        (["--bogus"], "bogus"),
    ],
)
def test_flags_that_make_no_sense_are_usage_errors(scores, capsys, words, says):
    code, err = refused(capsys, scores[1], *words)
    assert code == 2
    assert says in err
    assert err.startswith("mi prune: ")
    assert len(err.splitlines()) <= 2


def test_contradictions_are_found_before_anything_is_read(tmp_path, capsys):
    assert refused(capsys, tmp_path / "missing.jsonl", "--top", "1", "--greedy", "1")[0] == 2
    assert refused(capsys, tmp_path / "missing.jsonl", "--top", "1")[0] == 3


def write_scores_of_another_tool(path, graph, scores):
    """A sealed stream whose scores our own writer would have refused."""
    data = safetensors.numpy.save({"edge": scores})
    (path.parent / "foreign.safetensors").write_bytes(data)
    layout = {"edge": ("F32", (len(scores),))}
    sha256 = hashlib.sha256(data).hexdigest()
    blob = Blob("scores", sha256, len(data), layout, path="foreign.safetensors", folder=path.parent)
    stream.write(str(path), head_of(graph), [], {"scores": blob})
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_a_number_is_named(tmp_path, capsys, value):
    values = np.ones(GRAPH.n_edges, dtype=np.float32)
    file = write_scores_of_another_tool(tmp_path / "scores.jsonl", GRAPH, values)
    assert len(prune(file, "--top", "262").records) == 262
    values[[7, 9]] = value
    write_scores_of_another_tool(file, GRAPH, values)
    code, err = refused(capsys, file)
    assert code == 3
    assert f"{file}: the score of {GRAPH.edge_name(7)} is {value}, and 1 more" in err


def test_scores_of_another_graph_are_refused(tmp_path, capsys):
    other = transformer_graph(3, 4, parallel=True)
    file = write_scores(tmp_path / "scores.jsonl", GRAPH, np.ones(GRAPH.n_edges), head_of(other))
    code, err = refused(capsys, file)
    assert code == 3
    assert "262 scores for a graph of 250 edges" in err
    head = head_of(GRAPH)
    head["graph"]["params"]["n_layers"] = 4
    code, err = refused(capsys, write_scores(tmp_path / "edited.jsonl", GRAPH, np.ones(262), head))
    assert code == 3
    assert f"{tmp_path / 'edited.jsonl'}: the graph in the head does not match its digest" in err


GOOD = {"src": "input", "dst": "logits", "score": 1.0}


@pytest.mark.parametrize("kind", ["scores", "circuit"])
@pytest.mark.parametrize(
    ("record", "says"),
    [
        ({"src": "input", "dst": "m9", "score": 1.0}, "input->m9 is no edge of this graph"),
        ({"src": "m2", "dst": "m0", "score": 1.0}, "m2->m0 is no edge of this graph"),
        ({"src": "input", "dst": "logits", "score": 2.0}, "input->logits is listed twice"),
        ({"src": "input", "dst": "m0"}, "score"),
        ({"src": "input", "dst": "m0", "score": None}, "score"),
        ({"src": "input", "dst": "m0", "score": "1"}, "score"),
        ({"src": "input", "score": 1.0}, ""),
        ({"node": "m0", "score": 1.0}, ""),
    ],
)
def test_a_record_that_is_no_scored_edge_is_refused_with_its_line(tmp_path, capsys, record, says, kind):
    file = write_records(tmp_path / "edges.jsonl", GRAPH, [GOOD, record], kind)
    code, err = refused(capsys, file)
    assert code == 3
    assert f"{file}:3: " in err
    assert says in err


def test_a_stream_without_scores_is_refused(tmp_path, capsys):
    code, err = refused(capsys, write_records(tmp_path / "none.jsonl", GRAPH, []))
    assert code == 3
    assert "the stream holds no scores" in err
    nodes = tmp_path / "nodes.jsonl"
    stream.write(str(nodes), head_of(GRAPH), [], {"scores": {"node": np.ones(3, dtype=np.float32)}})
    code, err = refused(capsys, nodes)
    assert code == 3
    assert "the blob holds node" in err
    empty = write_records(tmp_path / "empty.jsonl", GRAPH, [], kind="circuit")
    assert prune(empty).records == []


def test_another_kind_of_stream_is_refused(tmp_path, capsys):
    file = tmp_path / "examples.jsonl"
    stream.write(str(file), {"kind": "examples"}, [])
    code, err = refused(capsys, file)
    assert code == 3
    assert "mi attribute" in err


def test_it_does_not_import_torch_nor_without_need_scipy(scores):
    code = "import sys; from mi.run import run; run('prune', sys.argv[1:]); "
    code += "assert not {'torch', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(scores[1]), "-o", str(scores[1].parent / "c.jsonl")], check=True)


def test_a_real_pipe(scores):
    _values, file = scores
    mi = f"{sys.executable} -m mi"
    line = f"cat {file} | {mi} prune --top 120 | {mi} prune --greedy 30 --signed | tee piped.jsonl | wc -l"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=file.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    piped = stream.read(str(file.parent / "piped.jsonl"), ("circuit",))
    assert int(done.stdout) == len(piped.records) + 2
    assert len(piped.records) > 0
    prune(file, "--top", "120")
    shutil.move(file.parent / "out.jsonl", file.parent / "large.jsonl")
    prune(file.parent / "large.jsonl", "--greedy", "30", "--signed")
    assert (file.parent / "out.jsonl").read_bytes() == (file.parent / "piped.jsonl").read_bytes()


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_edges_chosen_with_jq(scores):
    _values, file = scores
    mi = f"{sys.executable} -m mi"
    line = f"{mi} view --json {file} | jq -c 'select(.mi or .score>1)' | {mi} stamp | {mi} prune --top 100 --signed"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=file.parent, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    (file.parent / "jq.jsonl").write_bytes(done.stdout)
    assert names(stream.read(str(file.parent / "jq.jsonl"), ("circuit",))) == names(
        prune(file, "--threshold", "1", "--signed")
    )


def test_ilp_finds_more_than_any_ranking(scores):
    _values, file = scores
    found = prune(file, "--top", "20", "--ilp")
    selection = found.head["selection"]
    assert (selection["rule"], selection["requested"], selection["realised"]) == ("ilp", 20, len(found.records))
    assert len(found.records) <= 20
    assert selection["total"] == pytest.approx(sum(abs(record["score"]) for record in found.records))
    assert selection["gap"] < 1e-6
    assert selection["total"] > sum(abs(r["score"]) for r in prune(file, "--top", "20", "--exact-size").records)
    rough = prune(file, "--top", "20", "--ilp", "--gap", "0.2", "--time-limit", "60").head["selection"]
    assert rough["gap"] <= 0.2 and rough["total"] >= 0.8 * selection["total"]
    percent = prune(file, "--percent", "10", "--ilp", "--drop", "m0", "--keep", "input->logits", "--signed")
    assert percent.head["selection"]["percent"] == 10.0
    assert not [name for name in names(percent) if "m0" in name]
    assert "input->logits" in names(percent)


def test_ilp_that_does_not_finish_leaves_nothing(tmp_path, capsys):
    graph = transformer_graph(6, 8)
    file = write_scores(tmp_path / "s.jsonl", graph, np.random.default_rng(0).normal(size=graph.n_edges))
    code, err = refused(capsys, file, "--top", "50", "--ilp", "--time-limit", "0.001")
    assert code == 4
    assert "was not solved in 0.001 s" in err


def test_a_ratio_of_positive_scores(scores):
    values, file = scores
    circuit = prune(file, "--top", "60", "--positive-ratio", "0.9")
    left = oracle.prune(pairs_of(GRAPH), oracle.positive(values.tolist(), 60, Fraction(9, 10)))
    assert set(names(circuit)) == {"->".join(pairs_of(GRAPH)[edge]) for edge in left}
    assert circuit.head["selection"]["positive_ratio"] == 0.9
    exact = prune(file, "--top", "60", "--positive-ratio", "0.9", "--exact-size").head["selection"]
    assert circuit.head["selection"]["realised"] < exact["realised"] <= 60
    with_ilp = prune(file, "--top", "20", "--positive-ratio", "1", "--ilp")
    assert min(record["score"] for record in with_ilp.records) > 0


def test_strict(scores):
    values, file = scores
    plain, strict = prune(file, "--top", "60"), prune(file, "--top", "60", "--strict")
    assert set(names(strict)) < set(names(plain))
    expected = oracle.prune_strictly(pairs_of(GRAPH), oracle.top(values.tolist(), 60, True))
    assert set(names(strict)) == {"->".join(pairs_of(GRAPH)[edge]) for edge in expected}
    assert strict.head["selection"]["strict"] is True
    size = len(prune(file, "--top", "60", "--strict", "--exact-size").records)
    assert len(strict.records) < size <= 60


def test_the_next_size_is_said_where_a_size_is_not_met(scores):
    values, file = scores
    sizes = {len(oracle.prune(pairs_of(GRAPH), oracle.top(values.tolist(), n, True))) for n in range(GRAPH.n_edges + 1)}
    for budget in (5, 30, 33, 262):
        selection = prune(file, "--top", str(budget), "--exact-size").head["selection"]
        assert selection["realised"] == max(size for size in sizes if size <= budget)
        larger = [size for size in sizes if size > budget]
        assert selection.get("next_size") == (min(larger) if selection["realised"] < budget and larger else None)


def write_shards(path, n_shards=8):
    """Scores whose shards agree on most edges."""
    rng = np.random.default_rng(2)
    sums = 3 * (rng.standard_t(3, size=GRAPH.n_edges) + rng.normal(size=(n_shards, GRAPH.n_edges)))
    sizes = np.full(n_shards, 3)
    edge = (sums.sum(axis=0) / sizes.sum()).astype(np.float32)
    arrays = {"edge": edge, "edge_shards": sums, "shard_n": sizes}
    stream.write(str(path), head_of(GRAPH), [], {"scores": arrays})
    return edge, sums, sizes


def test_only_stable_edges_are_chosen(tmp_path):
    file = tmp_path / "scores.jsonl"
    edge, sums, sizes = write_shards(file)
    share = stability.sign_stability(edge, sums, sizes, 200, seed=3)
    flags = ("--percent", "100", "--stable", "0.95", "--resamples", "200", "--seed", "3")
    circuit = prune(file, *flags)
    expected = oracle.prune(pairs_of(GRAPH), set(np.flatnonzero(share >= 0.95).tolist()))
    assert set(names(circuit)) == {"->".join(pairs_of(GRAPH)[e]) for e in expected}
    assert len(circuit.records) < GRAPH.n_edges
    stable = {"by": "sign", "least": 0.95, "resamples": 200, "seed": 3, "stable": int((share >= 0.95).sum())}
    assert circuit.head["selection"]["stability"] == stable
    unstable = GRAPH.edge_name(int(np.argmin(share)))
    assert unstable in names(prune(file, *flags, "--keep", unstable))
    assert len(prune(file, "--top", "20", "--ilp", *flags[2:]).records) <= 20


def test_stable_by_inclusion(tmp_path):
    file = tmp_path / "scores.jsonl"
    _edge, sums, sizes = write_shards(file)
    share, alike = stability.inclusion(Units(GRAPH), 60, sums, sizes, resamples=1000)
    circuit = prune(file, "--top", "60", "--stable", "0.6", "--stable-by", "inclusion")
    expected = oracle.prune(pairs_of(GRAPH), set(np.flatnonzero(share >= 0.6).tolist()))
    assert set(names(circuit)) == {"->".join(pairs_of(GRAPH)[e]) for e in expected}
    assert circuit.head["selection"]["stability"]["jaccard"] == alike


def test_stability_needs_shards(tmp_path, capsys):
    file = write_records(tmp_path / "edges.jsonl", GRAPH, [GOOD])
    code, err = refused(capsys, file, "--stable", "0.9")
    assert code == 3
    assert "without shards" in err
    code, err = refused(capsys, write_scores(tmp_path / "one.jsonl", GRAPH, np.ones(262)), "--stable", "0.9")
    assert code == 3
    assert "1 shard cannot be resampled" in err
