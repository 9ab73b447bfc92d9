"""The embedded model's word-level tokenizer. In: the word lists and templates. Out: tokenizer.json and its config.

One token is one word with the space in front of it ("▁Mary"), one mark of punctuation, or two digits. A text that
starts without a space is read as if it had one, so "Mary" and " Mary" are the same token; a year such as 1732 is "▁17"
and "32", as in GPT-2. Every entry is one token of GPT-2's vocabulary too, so that prompts made here can be given to
GPT-2.

    python -m mi.embedded.build_tokenizer FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from mi.embedded import filler
from mi.tasks import greater_than, ioi, pronoun, words
from mi.tasks.vocabulary import fixed_text

BOS, UNK = "<|endoftext|>", "<unk>"
PUNCTUATION = (".", ",", "'t")
# Of each gender, from the front of the word lists. Each name has to be met often enough to be learnt.
NAMES = 32
SPACE = "▁"


def vocabulary() -> list[str]:
    """Every entry, in an order that only these lists decide."""
    sentences = [
        fixed_text(t) for t in (*ioi.TEMPLATES, *greater_than.TEMPLATES, *pronoun.TEMPLATES, *filler.TEMPLATES)
    ]
    text = " ".join(sentences).replace(",", " ").replace(".", " ").replace("'t", " ")
    names = words.FEMALE_NAMES[:NAMES] + words.MALE_NAMES[:NAMES]
    lists = (names, words.PLACES, words.OBJECTS, words.ADJECTIVES, words.EVENTS, words.COMMON, words.CENTURIES)
    plain = [*("he", "she"), *text.split(), *(word for words_ in lists for word in words_)]
    entries = [SPACE + word for word in dict.fromkeys(plain)]
    return [BOS, UNK, *PUNCTUATION, *words.YEARS, *entries]


def build() -> tokenizers.Tokenizer:
    entries = {entry: index for index, entry in enumerate(vocabulary())}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(entries, unk_token=UNK))
    tokenizer.normalizer = normalizers.Sequence([])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # "always" adds a space only where the text has none; "split" cuts before every space.
            pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme="always", split=True),
            pre_tokenizers.Split(Regex(r"'t|[^\w▁]|▁?\d\d"), behavior="isolated"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE, prepend_scheme="always", split=True)
    tokenizer.add_special_tokens([BOS, UNK])
    return tokenizer


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS,
        "eos_token": BOS,
        "unk_token": UNK,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 64,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    # The library's own layout, but with a line an entry and a final line break, so that it can be read and compared.
    value = json.loads(build().to_str())
    (folder / "tokenizer.json").write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
