"""Training sequences of the embedded model: the four tasks' train prompts with their answers, and filler sentences.

In: the tokenizer, a seed, how many sequences. Out: arrays of ids and of loss weights, padded to one length. No prompt
of another split than train gets in: `task_text` refuses by the split digest of the prompt.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from mi.embedded import filler
from mi.tasks.task import TASKS, Record, split_of
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.vocabulary import single_words

LENGTH = 40  # the longest sequence: BOS, 24 tokens in front, 16 repeated, answer
# Shares of the sources, in a hundred sequences.
MIXTURE = {"ioi": 25, "greater-than": 13, "pronoun": 13, "induction": 30, "filler": 19}
# Induction heads form late, or never, where easier tasks are learned beside them: they come first, alone.
FIRST = {"induction": 100}
PROMPT_WEIGHT = 0.03  # of a token inside a prompt, against 1 for the answer


@dataclass(frozen=True)
class Corpus:
    ids: np.ndarray  # int64 [n, LENGTH], padded with the BOS
    lengths: np.ndarray  # int64 [n], with the BOS
    weights: np.ndarray  # float32 [n, LENGTH]: of the loss where the token is the target; 0 on BOS and padding


def build(tokenizer: Tokenizer, seed: int, n: int, mixture: Mapping[str, int] = MIXTURE) -> Corpus:
    """`n` sequences in random order, the same for the same arguments."""
    rng = random.Random(f"embedded corpus {seed}")
    sources = {name: _source(name, tokenizer, random.Random(f"{name} {seed}")) for name in mixture}
    ids = np.full((n, LENGTH), tokenizer.bos_id, dtype=np.int64)
    lengths = np.zeros(n, dtype=np.int64)
    weights = np.zeros((n, LENGTH), dtype=np.float32)
    for row, name in enumerate(rng.choices(list(mixture), weights=list(mixture.values()), k=n)):
        tokens, start = next(sources[name])
        ids[row, 1 : len(tokens) + 1] = tokens
        lengths[row] = len(tokens) + 1
        weights[row, 1 : start + 1] = PROMPT_WEIGHT
        weights[row, start + 1 : len(tokens) + 1] = 1.0
    return Corpus(ids, lengths, weights)


def _source(name: str, tokenizer: Tokenizer, rng: random.Random) -> Iterator[tuple[list[int], int]]:
    """(ids, where the tokens begin that count in full) for ever. In filler every token does."""
    if name == "filler":
        known = {
            slot: single_words(list_, tokenizer, "" if slot == "year" else " ") for slot, list_ in filler.SLOTS.items()
        }
        for text in filler.sentences(rng, known):
            yield tokenizer.encode(text), 0
    task = TASKS[name]
    for record in task.generate(tokenizer, rng, task.counterfactual):
        if split_of(record["clean"]) == "train":
            prompt = tokenizer.encode(record["clean"])
            if name == "induction":
                yield _repeated(prompt, *map(int, record["template"].split("+")))
            else:
                yield tokenizer.encode(task_text(record, rng)), len(prompt)


def _repeated(prompt: list[int], first: int, second: int) -> tuple[list[int], int]:
    """An induction prompt, continued with its answer and what followed that, to the end of the sequence. From the
    second repeated token on each can be known, and counts in full."""
    last = prompt.index(prompt[-1])
    assert len(prompt) == first + second
    return prompt + prompt[last + 1 : first], first + 1


def task_text(record: Record, rng: random.Random) -> str:
    """A train prompt with one of its answers. Any other prompt is refused: the model is measured on those."""
    if split_of(record["clean"]) != "train":
        raise ValueError(f"not a train prompt: {record['clean']!r}")
    return str(record["clean"]) + str(rng.choice(record["answers"]))
