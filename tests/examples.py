"""Examples made of token ids: seed and shape in, examples out. For tests that need no tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mi.tasks.encode import Encoded, encode


@dataclass(frozen=True)
class IdExample:
    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    answers: tuple[int, ...]
    foils: tuple[int, ...]
    read: int


def random_examples(
    rng: np.random.Generator,
    n: int,
    vocabulary: int,
    lengths: Sequence[int] = (8,),
    n_answers: int = 1,
    read_last: bool = True,
) -> list[IdExample]:
    """n pairs of prompts that differ at one to three positions; lengths take turns; no answer is a foil."""
    made = []
    for index in range(n):
        length = lengths[index % len(lengths)]
        clean = rng.integers(vocabulary, size=length)
        corrupted = clean.copy()
        places = rng.choice(length, size=min(length, int(rng.integers(1, 4))), replace=False)
        corrupted[places] = (corrupted[places] + rng.integers(1, vocabulary, size=len(places))) % vocabulary
        picked = rng.choice(vocabulary, size=2 * n_answers, replace=False).tolist()
        read = length - 1 if read_last else int(rng.integers(max(places), length))
        made.append(
            IdExample(
                tuple(clean.tolist()),
                tuple(corrupted.tolist()),
                tuple(picked[:n_answers]),
                tuple(picked[n_answers:]),
                read,
            )
        )
    return made


def encoded(examples: Sequence[IdExample]) -> list[Encoded]:
    """The same examples as the package's own records, encoded by its own code; their ids are their places."""
    records = [
        {
            "id": f"example-{place}",
            "clean": list(example.clean),
            "corrupted": list(example.corrupted),
            "answers": list(example.answers),
            "foils": list(example.foils),
            "read": example.read,
        }
        for place, example in enumerate(examples)
    ]
    return encode(records, None)
