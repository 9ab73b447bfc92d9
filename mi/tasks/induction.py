"""Induction on random words: " house Mary 1732 red tree gold … Mary 17" -> "32": what followed the last time.

Out: pairs of a random sequence of distinct tokens and the start of its repetition. The answer is the token that
followed the last one before, the foil another token of the sequence; the metric is their logit difference at the last
token. Three counterfactuals, which all make the foil right, take the mechanism apart:

- `context-swap` (default) swaps the last token with another in the sequence, so that it stands before the foil. Only
  the *context* of answer and foil differs: what a previous-token head carries to an induction head's keys.
- `answer-swap` swaps answer and foil in the sequence: the content that the induction head copies.
- `query-swap` ends the prompt on the token before the foil: the induction head's query.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from mi.tasks import words
from mi.tasks.task import Record, Task
from mi.tasks.tokenizer import Tokenizer
from mi.tasks.vocabulary import need, single_words

NAME = "induction"
SHORTEST, LONGEST = 5, 10
YEAR_SHARE = 0.4  # of the sequences, in tokenizers that write 1732 as two tokens, hold two years


def generate(tokenizer: Tokenizer, rng: random.Random, counterfactual: str) -> Iterator[Record]:
    pool = words.COMMON + words.NAMES + words.PLACES + words.OBJECTS
    plain = single_words(pool, tokenizer)
    need(plain, LONGEST + 2, "words of one token", NAME, tokenizer)
    dates = _dates(tokenizer)
    while True:
        pieces = [f" {word}" for word in rng.sample(plain, rng.randint(SHORTEST, LONGEST))]
        if dates and rng.random() < YEAR_SHARE:
            pieces = _with_years(pieces, dates, rng)
        kinds = [piece.startswith(" ") and piece.strip().isdigit() for piece in pieces]
        # The last token and its rival must both have a follower, and be of one kind, or the swap would break a year.
        last, rival = rng.sample(range(len(pieces) - 1), 2)
        year = not pieces[last].startswith(" ") or not pieces[rival].startswith(" ")
        if year or kinds[last] != kinds[rival] or kinds[last + 1] != kinds[rival + 1] or abs(last - rival) < 2:
            continue
        # The rival and the foil must not come again before the end, or they would have two followers.
        start = rng.randint(rival + 2 if rival < last else 0, last)
        if not pieces[start].startswith(" "):
            continue
        clean = pieces + pieces[start : last + 1]
        corrupted = _corrupt(pieces, clean, last, rival, counterfactual)
        if not _as_pieces(clean, tokenizer) or not _as_pieces(corrupted, tokenizer):
            continue
        yield {
            "clean": "".join(clean),
            "corrupted": "".join(corrupted),
            "answers": [pieces[last + 1]],
            "foils": [pieces[rival + 1]],
            "template": f"{len(pieces)}+{last + 1 - start}",
        }


def _corrupt(pieces: Sequence[str], clean: Sequence[str], last: int, rival: int, counterfactual: str) -> list[str]:
    corrupted = list(clean)
    if counterfactual == "query-swap":
        corrupted[-1] = pieces[rival]
        return corrupted
    shift = 1 if counterfactual == "answer-swap" else 0
    corrupted[last + shift], corrupted[rival + shift] = pieces[rival + shift], pieces[last + shift]
    return corrupted


def _with_years(pieces: list[str], dates: Sequence[tuple[str, str]], rng: random.Random) -> list[str]:
    """Put two years of different centuries and years somewhere into the sequence."""
    (c1, y1), (c2, y2) = rng.choice(dates), rng.choice(dates)
    if c1 == c2 or y1 == y2:
        return pieces
    first, second = sorted(rng.sample(range(len(pieces) + 1), 2))
    return [*pieces[:first], f" {c1}", y1, *pieces[first:second], f" {c2}", y2, *pieces[second:]]


def _dates(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    centuries = single_words(words.CENTURIES, tokenizer)
    years = single_words(words.YEARS, tokenizer, prefix="")
    return [(century, year) for century in centuries for year in years]


def _as_pieces(pieces: Sequence[str], tokenizer: Tokenizer) -> bool:
    """Whether the text's tokens are exactly the pieces (after the bare space that some tokenizers put in front)."""
    return tokenizer.encode("".join(pieces))[-len(pieces) :] == [tokenizer.single(piece) for piece in pieces]


TASK = Task(
    name=NAME,
    version=1,
    metric="logit-diff",
    counterfactuals=("context-swap", "answer-swap", "query-swap"),
    summary="repeat what followed: house Mary red tree house Mary -> red",
    generate=generate,
)
