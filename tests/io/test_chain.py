"""The chain: links by digest, portable names, versions without imports, one line of shell."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from mi.io import chain
from mi.io.chain import Invocation
from tests.io import plain


def link(*argv: str, inputs: list[dict[str, Any]] | None = None, **how: Any) -> dict[str, Any]:
    return chain.link(Invocation(argv[0], argv[1:]), how.pop("prev", None), inputs or [], **how)


def test_a_link_holds_what_the_design_lists() -> None:
    made = link("attribute", "--steps", "5", prev="0123456789abcdef", device="cuda")
    assert sorted(made) == ["argv", "env", "id", "inputs", "prev", "version"]
    assert made["argv"] == ["attribute", "--steps", "5"]
    assert made["prev"] == "0123456789abcdef"
    assert made["env"]["device"] == "cuda"
    assert made["version"] == metadata.version("mi")


def test_the_id_is_a_digest_of_the_rest() -> None:
    made = link("prune", "--top", "200")
    rest = json.dumps({k: v for k, v in made.items() if k != "id"}, sort_keys=True, separators=(",", ":"))
    assert made["id"] == hashlib.sha256(rest.encode()).hexdigest()[:16]
    assert made["id"] != link("prune", "--top", "201")["id"]
    assert made["id"] == link("prune", "--top", "200")["id"]


def test_a_subcommand_is_two_words() -> None:
    assert chain.link(Invocation("data filter", ("-m", "gpt2")), None, [])["argv"] == ["data", "filter", "-m", "gpt2"]


def test_links_follow_each_other() -> None:
    head = chain.record({"kind": "cache"}, Invocation("cache"))
    before = dict(head)
    longer = chain.record(head, Invocation("attribute"), [{"name": "examples", "sha256": plain.SHA}], "cpu")
    assert head == before
    assert [item["prev"] for item in longer["chain"]] == [None, head["chain"][0]["id"]]
    assert chain.last(longer) == longer["chain"][1]["id"]
    assert chain.last({}) is None
    assert chain.broken(longer) is None


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        (lambda links: links[0]["argv"].append("--seed"), "link 1 of the chain was changed"),
        (lambda links: links[1].update(id="0" * 16), "link 2 of the chain was changed"),
        (lambda links: links.reverse(), "link 1 of the chain does not follow"),
        (lambda links: links.pop(1), "link 2 of the chain does not follow link 1"),
        (lambda links: links.pop(0), "link 1 of the chain does not follow"),
    ],
)
def test_a_chain_that_was_changed_is_noticed(change: Any, fact: str) -> None:
    head: dict[str, Any] = {}
    for command in ("cache", "attribute", "prune"):
        head = chain.record(head, Invocation(command))
    change(head["chain"])
    problem = chain.broken(head)
    assert problem is not None
    assert problem.startswith(fact)


# --- names ------------------------------------------------------------------------------------------------------------


def test_files_are_recorded_by_name_and_digest_however_they_were_typed() -> None:
    os.mkdir("data")
    Path("data/x.csv").write_bytes(b"x")
    wanted = {"name": "data/x.csv", "sha256": plain.SHA}
    for typed in ("data/x.csv", "./data//x.csv", "data/../data/x.csv", str(Path("data/x.csv").absolute())):
        made = link("data", "--from", typed, inputs=[chain.given(typed, plain.SHA)])
        assert made["argv"] == ["data", "--from", wanted]
        assert made["inputs"] == [wanted]
        assert link("data", f"--from={typed}", inputs=[chain.given(typed, plain.SHA)]) == made


def test_an_input_is_found_in_argv_by_its_name_alone() -> None:
    os.mkdir("model")
    for typed in ("model", str(Path("model").absolute())):
        made = link("cache", "--model", typed, inputs=[{"name": "model", "sha256": plain.SHA}])
        assert made["argv"] == ["cache", "--model", {"name": "model", "sha256": plain.SHA}]


def test_a_word_that_is_no_file_here_stays_a_word() -> None:
    made = link("cache", "--model", "gpt2", inputs=[{"name": "gpt2", "sha256": plain.SHA, "arg": "gpt2"}])
    assert made["argv"] == ["cache", "--model", "gpt2"]
    assert made["inputs"] == [{"name": "gpt2", "sha256": plain.SHA}]


def test_no_absolute_path_gets_into_a_link(own_folder: Path) -> None:
    Path("x").write_bytes(b"")
    absolute = str(own_folder / "x")
    for made in (link("score", "--data", absolute), link("score", f"--data={absolute}"), link("score", absolute)):
        assert str(own_folder) not in json.dumps(made)
        assert "x" in made["argv"]
    assert chain.portable(str(own_folder.parent / "y")) == "../y"
    assert chain.portable("-") == "-"
    assert chain.portable("") == ""


def test_a_link_does_not_depend_on_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for name in ("one", "two"):
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "x.csv").write_bytes(b"x")
        monkeypatch.chdir(folder)
        for typed in ("data/x.csv", str(folder / "data" / "x.csv")):
            made.append(link("data", "--from", typed, inputs=[chain.given(typed, plain.SHA)]))
    assert all(item == made[0] for item in made)


def test_words_after_an_equals_sign_are_cut_only_for_long_flags() -> None:
    assert link("prune", "--keep=a=b", "x=y", "-k=v")["argv"] == ["prune", "--keep", "a=b", "x=y", "-k=v"]


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["torch", "transformers", "nnsight", "numpy", "orjson"])
def test_versions_are_those_of_the_installation(name: str) -> None:
    assert chain.version(name) == metadata.version(name)


def test_a_library_that_is_not_there_has_no_version() -> None:
    assert chain.version("no-such-library") == "none"


def test_making_a_link_imports_no_library() -> None:
    program = """
import sys
from mi.io import chain
made = chain.link(chain.Invocation("prune"), None, [])
assert made["env"]["torch"] != "none", made
print(sorted(set(sys.modules) & {"torch", "transformers", "nnsight", "numpy", "importlib.metadata", "email"}))
"""
    made = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert made.stdout == "[]\n", made.stderr


# --- as text ----------------------------------------------------------------------------------------------------------


def chained() -> dict[str, Any]:
    Path("two words.csv").write_bytes(b"x")
    head = chain.record({}, Invocation("data", ("--from", "two words.csv")), [chain.given("two words.csv", plain.SHA)])
    return chain.record(head, Invocation("cache", ("--model", "it's")), device="cpu")


def test_a_pipeline_is_one_line_that_a_shell_reads_back() -> None:
    line = chain.pipeline(chained())
    assert line == """mi data --from 'two words.csv' | mi cache --model 'it'"'"'s'"""
    assert shlex.split(line)[-1] == "it's"
    assert chain.pipeline({}) == ""


def test_the_text_shows_commands_inputs_versions_and_device() -> None:
    head = chained()
    lines = chain.text(head).splitlines()
    assert lines[0] == f"{head['chain'][0]['id'][:12]}  mi data --from 'two words.csv'"
    assert lines[1].split() == ["two", "words.csv", "sha256", plain.SHA[:12]]
    assert lines[-1].endswith(f"nnsight {metadata.version('nnsight')} on cpu")
    assert chain.text({}) == ""
