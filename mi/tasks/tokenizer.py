"""Text to token ids and back, with the `tokenizers` library alone (24 ms; transformers' AutoTokenizer imports torch).

In: a folder in the Hugging Face layout, with `tokenizer.json`, or with GPT-2's `vocab.json` and `merges.txt`.
Out: a frozen `Tokenizer`, which adds no special token by itself: `mi.tasks.encode` decides about the BOS.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

from mi.errors import MiError

# Names that begin a text in the tokenizers we know, for folders whose configuration names none.
KNOWN_BOS = ("<|begin_of_text|>", "<bos>", "<s>", "<|endoftext|>", "[BOS]")
KNOWN_UNK = ("<unk>", "[UNK]", "<UNK>")
# Classes whose vocab.json + merges.txt mean exactly GPT-2's byte-level rule. Qwen2, say, cuts words by another rule.
GPT2_CLASSES = ("GPT2Tokenizer", "GPT2TokenizerFast", "RobertaTokenizer", "RobertaTokenizerFast")
FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Tokenizer:
    """One tokenizer: `bos_id` and `unk_id` are None where it has none; `digest` is over the files it was read from."""

    id_name: str
    backend: tokenizers.Tokenizer = field(repr=False, compare=False)
    bos_id: int | None
    unk_id: int | None
    vocab_size: int
    digest: str
    _singles: dict[str, int | None] = field(default_factory=dict, repr=False, compare=False)

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, with nothing added in front or behind."""
        return list(self.backend.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.backend.decode(list(ids), skip_special_tokens=False))

    def token(self, index: int) -> str | None:
        """The raw vocabulary entry, such as `Ġthe`; None if there is none."""
        token: str | None = self.backend.id_to_token(index)
        return token

    def single(self, text: str) -> int | None:
        """The id of `text` where it continues a prompt, if that is exactly one token; else None."""
        if text not in self._singles:
            self._singles[text] = self._single(text)
        return self._singles[text]

    def _single(self, text: str) -> int | None:
        # A SentencePiece tokenizer puts a space in front of every text, so " Mary" alone is not the token that
        # follows "When": look at what the text adds to a carrier. Without a leading space, a line break keeps it from
        # melting into the carrier; where that fails the text alone may still be one token ("Mary" as "▁Mary").
        for carrier in ("a", "\n", ""):
            if carrier == "a" and not text.startswith(" "):
                continue
            before, after = self.encode(carrier), self.encode(carrier + text)
            if len(after) == len(before) + 1 and after[:-1] == before and after[-1] != self.unk_id:
                return int(after[-1])
        return None

    def first(self, text: str) -> int:
        """The id of the first token of `text` where it continues a prompt."""
        carrier = "a" if text.startswith(" ") else "\n"
        before, after = self.encode(carrier), self.encode(carrier + text)
        if after[: len(before)] == before and len(after) > len(before):
            return after[len(before)]
        return self.encode(text)[0]

    def unknown(self, text: str) -> list[str]:
        """The parts of `text` that the vocabulary lacks, in order, without repeats."""
        if self.unk_id is None:
            return []
        encoding = self.backend.encode(text, add_special_tokens=False)
        parts = (
            text[a:b].strip()
            for index, (a, b) in zip(encoding.ids, encoding.offsets, strict=True)
            if index == self.unk_id
        )
        # A text may name the unknown token itself, on purpose.
        return list(dict.fromkeys(part for part in parts if part and part != self.token(self.unk_id)))


def load(folder: str | Path, name: str | None = None) -> Tokenizer:
    """Read the tokenizer of a model folder. `name` is what streams call it; by default the folder's own name."""
    folder = Path(folder)
    settings = {
        file: _json(folder / file) for file in ("tokenizer_config.json", "special_tokens_map.json", "config.json")
    }
    if (folder / "tokenizer.json").is_file():
        backend = _read(folder / "tokenizer.json")
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        backend = _gpt2(folder, settings["tokenizer_config.json"])
    else:
        raise MiError(
            f"no tokenizer in {folder.name or folder}",
            "a model folder needs tokenizer.json, or vocab.json with merges.txt; save one with "
            "tokenizer.save_pretrained(folder), or give the examples as token ids",
            place=str(folder),
        )
    digest = hashlib.sha256()
    for file in FILES:
        if (folder / file).is_file():
            digest.update(f"{file} {hashlib.sha256((folder / file).read_bytes()).hexdigest()}\n".encode())
    return _build(backend, name or folder.resolve().name, _bos(backend, settings), digest.hexdigest())


def from_backend(backend: tokenizers.Tokenizer, name: str, bos: str | int | None = None) -> Tokenizer:
    """Wrap a tokenizer in memory, such as `.backend_tokenizer` of a fast tokenizer of transformers."""
    bos_id = backend.token_to_id(bos) if isinstance(bos, str) else bos
    text = backend.to_str()
    return _build(tokenizers.Tokenizer.from_str(text), name, bos_id, hashlib.sha256(text.encode()).hexdigest())


def _build(backend: tokenizers.Tokenizer, name: str, bos_id: int | None, digest: str) -> Tokenizer:
    # A tokenizer.json may carry the truncation or padding of the training run that saved it.
    backend.no_truncation()
    backend.no_padding()
    vocabulary = backend.get_vocab(with_added_tokens=True)
    return Tokenizer(name, backend, bos_id, _unk(backend), 1 + max(vocabulary.values(), default=-1), digest)


def _read(path: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception for every fault of the file
        raise MiError(f"not a tokenizer: {error}", "is the file complete?", place=str(path)) from None


def _gpt2(folder: Path, config: dict[str, Any]) -> tokenizers.Tokenizer:
    """GPT-2's byte-level BPE from its two files."""
    kind = config.get("tokenizer_class", "GPT2Tokenizer")
    if kind not in GPT2_CLASSES:
        raise MiError(
            f"{kind} cannot be read from vocab.json and merges.txt",
            "save tokenizer.json beside them with tokenizer.save_pretrained(folder)",
            place=str(folder),
        )
    try:
        model = tokenizers.models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt"))
    except Exception as error:
        raise MiError(f"not a tokenizer: {error}", "are both files complete?", place=str(folder)) from None
    backend = tokenizers.Tokenizer(model)
    prefix = bool(config.get("add_prefix_space", False))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    backend.decoder = tokenizers.decoders.ByteLevel()
    specials = [token for token in KNOWN_BOS + KNOWN_UNK if backend.token_to_id(token) is not None]
    backend.add_special_tokens(specials)
    return backend


def _bos(backend: tokenizers.Tokenizer, settings: dict[str, dict[str, Any]]) -> int | None:
    """The first of: what the tokenizer's configuration says (null means none), the model's, a well-known name."""
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        if "bos_token" in settings[file]:
            token = settings[file]["bos_token"]
            token = token.get("content") if isinstance(token, dict) else token
            return None if token is None else _token_id(backend, token)
    index = settings["config.json"].get("bos_token_id")
    if isinstance(index, int) and backend.id_to_token(index) is not None:
        return index
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    return next((_token_id(backend, token) for token in KNOWN_BOS if token in added), None)


def _token_id(backend: tokenizers.Tokenizer, token: str) -> int | None:
    index: int | None = backend.token_to_id(token)
    return index


def _unk(backend: tokenizers.Tokenizer) -> int | None:
    token = getattr(backend.model, "unk_token", None)
    names = KNOWN_UNK if token is None else (token, *KNOWN_UNK)
    return next((index for index in map(backend.token_to_id, names) if index is not None), None)


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise MiError(f"not JSON: {error}", place=str(path)) from None
    return value if isinstance(value, dict) else {}
