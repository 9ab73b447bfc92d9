"""Tokenizers: what is one token inside a text, which token begins a text, which folders can be read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers as library

from mi.errors import MiError
from mi.tasks import tokenizer
from tests.tasks import tokenizers
from tests.tasks.tokenizers import of_words

SENTENCE = "When Mary and John went to the store, John gave a drink to"


def folder(path: Path, special: tuple[str, ...] = (), **files: object) -> Path:
    """A model folder with a tokenizer.json of three words and more files, such as config={"bos_token_id": 1}."""
    backend = library.Tokenizer(library.models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="<unk>"))
    backend.pre_tokenizer = library.pre_tokenizers.Whitespace()
    backend.add_special_tokens(list(special))
    backend.save(str(path / "tokenizer.json"))
    for name, value in files.items():
        (path / f"{name}.json").write_text(json.dumps(value))
    return path


def test_gpt2_ids_are_the_published_ones() -> None:
    gpt2 = tokenizers.load("gpt2")
    assert gpt2.encode("Hello world") == [15496, 995]
    assert gpt2.encode("When Mary and John") == [2215, 5335, 290, 1757]
    assert (gpt2.bos_id, gpt2.vocab_size, gpt2.unk_id) == (50256, 50257, None)
    assert gpt2.encode("<|endoftext|>Hello") == [50256, 15496]
    assert gpt2.token(5335) == "ĠMary"
    assert gpt2.token(50257) is None


@pytest.mark.parametrize("name", tokenizers.NAMES)
def test_text_survives_encoding_and_decoding(name: str) -> None:
    chosen = tokenizers.load(name)
    assert chosen.decode(chosen.encode(SENTENCE)) == SENTENCE


def test_nothing_is_added_although_the_file_would_add_a_bos() -> None:
    stories = tokenizers.load("stories260K")
    assert stories.backend.encode("Lily").ids[0] == stories.bos_id == 1
    assert stories.encode("Lily") == stories.encode("Lily")[-1:] != [1]


def test_single_is_the_token_that_continues_a_text() -> None:
    gpt2, stories, default = map(tokenizers.load, ("gpt2", "stories260K", "default"))
    assert gpt2.single(" Mary") == 5335
    assert gpt2.single("Mary") == gpt2.encode("Mary")[0] != 5335
    assert gpt2.single("32") == gpt2.encode("32")[0]
    assert gpt2.single(" Xylophone") is None
    # SentencePiece puts a space in front of a text, so that " Lily" on its own is two tokens.
    lily = stories.encode("a Lily")[-1]
    assert len(stories.encode(" Lily")) == 2
    assert stories.single(" Lily") == lily
    assert stories.single("Lily") == lily
    assert stories.single(" Mary") is None
    assert stories.single("32") is None
    assert default.single(" Mary") == default.single("Mary") == default.encode("When Mary")[1]
    assert default.single("32") == default.encode("in 1732")[-1]
    assert default.single(" 32") is None
    assert default.single(" Zork") is None


@pytest.mark.parametrize("name", tokenizers.NAMES)
@pytest.mark.parametrize("text", [" Mary", " Lily", " he", "'t", ",", ".", "32", " 17", " the", "\n", " Xylophone"])
def test_single_agrees_with_the_end_of_a_longer_text(name: str, text: str) -> None:
    chosen = tokenizers.load(name)
    before = chosen.encode("She said that a")
    found = chosen.single(text)
    after = chosen.encode("She said that a" + text)
    if text.startswith(" "):
        assert ([*before, found] == after) == (found is not None)
    elif found is not None and not text.isdigit():
        assert found == after[-1]


def test_unknown_words_are_named_once_and_in_order() -> None:
    words = of_words("Mary", "went")
    assert words.unknown("Zork and Mary went Zork home") == ["Zork", "and", "home"]
    assert words.unknown("Mary went") == []
    assert words.unknown("Mary <unk> went") == []
    assert tokenizers.load("gpt2").unknown("Zork ☃") == []


BOS = [
    ("configuration", ("<s>",), {"tokenizer_config": {"bos_token": "<s>"}}, "<s>"),
    ("as an object", ("<s>",), {"tokenizer_config": {"bos_token": {"content": "<s>"}}}, "<s>"),
    ("null means none", ("<s>",), {"tokenizer_config": {"bos_token": None}, "config": {"bos_token_id": 3}}, None),
    ("special tokens", ("<go>",), {"special_tokens_map": {"bos_token": "<go>"}}, "<go>"),
    ("model", ("<go>",), {"config": {"bos_token_id": 3}, "tokenizer_config": {}}, "<go>"),
    ("model's id outside", ("<go>",), {"config": {"bos_token_id": 99}}, None),
    ("well-known name", ("<|endoftext|>",), {}, "<|endoftext|>"),
    ("none", ("<pad>",), {}, None),
]


@pytest.mark.parametrize(("special", "files", "bos"), [case[1:] for case in BOS], ids=[case[0] for case in BOS])
def test_where_the_bos_comes_from(
    tmp_path: Path, special: tuple[str, ...], files: dict[str, object], bos: str | None
) -> None:
    chosen = tokenizer.load(folder(tmp_path, special, **files))
    assert chosen.bos_id == (None if bos is None else chosen.encode(bos)[0])


def test_saved_truncation_and_padding_are_ignored(tmp_path: Path) -> None:
    folder(tmp_path)
    backend = library.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.enable_truncation(2)
    backend.enable_padding(length=8)
    backend.save(str(tmp_path / "tokenizer.json"))
    assert tokenizer.load(tmp_path).encode("a b c") == [0, 1, 2]


def test_digest_follows_the_files_and_not_the_folder(tmp_path: Path) -> None:
    one, two, three = (tmp_path / name for name in "123")
    for path in (one, two, three):
        path.mkdir()
        folder(path, ("<s>",), config={"name": path.name})
    (three / "tokenizer_config.json").write_text('{"bos_token":null}')
    loaded = [tokenizer.load(path) for path in (one, two, three)]
    assert loaded[0].digest == loaded[1].digest != loaded[2].digest
    assert [chosen.id_name for chosen in loaded] == ["1", "2", "3"]
    assert tokenizer.load(one, "mine").id_name == "mine"


def test_vocab_size_counts_the_highest_id(tmp_path: Path) -> None:
    backend = library.Tokenizer(library.models.WordLevel({"a": 0, "b": 7}, unk_token="<unk>"))
    assert tokenizer.from_backend(backend, "gaps").vocab_size == 8


def test_folders_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(MiError, match="no tokenizer"):
        tokenizer.load(tmp_path)
    (tmp_path / "vocab.json").write_text('{"a": 0}')
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
    with pytest.raises(MiError, match="Qwen2Tokenizer cannot be read"):
        tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0", "mod')
    with pytest.raises(MiError, match="not a tokenizer") as caught:
        tokenizer.load(tmp_path)
    assert caught.value.place.endswith("tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(MiError, match="not JSON"):
        tokenizer.load(tmp_path)


def test_neither_torch_nor_transformers_is_imported() -> None:
    code = (
        "import sys; from mi.tasks import task; task.make('ioi', 2); "
        "print(sorted({'torch', 'transformers', 'nnsight'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
