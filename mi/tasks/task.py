"""What a task is, the table of all tasks, and `make`, which draws examples from a task's generator.

In: a task's name, how many examples, a seed, a counterfactual type, a tokenizer. Out: example records, valid for that
tokenizer, split by the digest of the clean prompt and without repeats, and the parts of a stream's head that name them.
The same arguments give the same records, whatever the hash seed, machine or number asked for (more begin with fewer).
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from mi.errors import MiError, UsageError
from mi.io import canonical
from mi.io.examples import examples_digest
from mi.tasks.tokenizer import Tokenizer

Record = dict[str, Any]
Generate = Callable[[Tokenizer, random.Random, str], Iterator[Record]]

SPLITS = ("train", "validation", "test")
# How many of ten digests fall to each split: a small pool gives most to the two that the main line uses.
_TENTHS = ("train",) * 4 + ("validation",) * 4 + ("test",) * 2


@dataclass(frozen=True)
class Task:
    """A generator of minimal pairs. `generate(tokenizer, rng, counterfactual)` yields candidate records without id and
    split, for ever or until its pool ends; `make` drops the candidates that the tokenizer cannot express."""

    name: str
    version: int
    metric: str
    counterfactuals: tuple[str, ...]
    summary: str
    generate: Generate
    read: int = -1

    @property
    def counterfactual(self) -> str:
        """The default."""
        return self.counterfactuals[0]


class _Table(Mapping[str, Task]):
    """Tasks by name. A task's module is imported when it is asked for, and holds it under the name TASK."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = dict(modules)

    def __getitem__(self, name: str) -> Task:
        task = import_module(self._modules[name]).TASK
        assert isinstance(task, Task)
        return task

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


TASKS: Mapping[str, Task] = _Table(
    {
        "ioi": "mi.tasks.ioi",
        "greater-than": "mi.tasks.greater_than",
        "pronoun": "mi.tasks.pronoun",
        "induction": "mi.tasks.induction",
        "docstring": "mi.tasks.docstring",
        "capital": "mi.tasks.capital",
        "sva": "mi.tasks.sva",
        "arithmetic": "mi.tasks.arithmetic",
        "mcqa": "mi.tasks.mcqa",
        "gender-bias": "mi.tasks.gender_bias",
    }
)


def get(name: str) -> Task:
    if name not in TASKS:
        raise UsageError(f"no task {name!r}", f"tasks are {', '.join(TASKS)}")
    return TASKS[name]


PAIR = ("clean", "corrupted", "answers", "foils")  # what an example is, whatever else is said of it
MOST = 1_000_000  # examples of a split: all are held in memory, and a typing error must not fill it


def make(
    task: Task | str,
    n: int,
    seed: int = 0,
    counterfactual: str | None = None,
    tokenizer: Tokenizer | None = None,
    splits: Sequence[str] = ("train", "validation"),
) -> tuple[list[Record], dict[str, Any]]:
    """`n` records of each split, and the head parts `task` and `examples`.

    Without a tokenizer, that of the embedded default model.
    """
    task = get(task) if isinstance(task, str) else task
    tokenizer = tokenizer or _default_tokenizer()
    counterfactual = counterfactual or task.counterfactual
    if counterfactual not in task.counterfactuals:
        raise UsageError(
            f"task {task.name} has no counterfactual {counterfactual!r}", f"it has {', '.join(task.counterfactuals)}"
        )
    for split in splits:
        if split not in SPLITS:
            raise UsageError(f"no split {split!r}", f"splits are {', '.join(SPLITS)}")
    if n < 1:
        raise UsageError(f"cannot make {n} examples", "ask for at least 1")
    if n > MOST:
        raise UsageError(f"cannot make {n} examples", f"ask for at most {MOST:,} of each split")
    wanted = [split for split in SPLITS if split in splits]
    records = _draw(task, n, seed, counterfactual, tokenizer, wanted)
    return records, _head(task, n, seed, counterfactual, tokenizer, wanted, records)


def split_of(clean: str | Sequence[int]) -> str:
    """The split that a clean prompt belongs to, by its digest alone: the same for every seed, task and
    counterfactual.
    """
    return _TENTHS[int(hashlib.sha256(canonical.dumps(clean)).hexdigest()[:8], 16) % len(_TENTHS)]


def record_id(record: Mapping[str, Any]) -> str:
    parts = [record.get(name) for name in PAIR]
    return canonical.sha256(canonical.dumps(parts))[:12]


def cannot_express(task: str, tokenizer: Tokenizer, why: str) -> MiError:
    """The error for a tokenizer that lacks what a task needs."""
    return MiError(
        f"tokenizer {tokenizer.id_name!r} cannot express task {task}: {why}",
        "choose another task, or bring examples of your own with --data",
    )


def _default_tokenizer() -> Tokenizer:
    from mi import embedded
    from mi.tasks import tokenizer

    return tokenizer.load(embedded.path(embedded.NAMES[0]), embedded.NAMES[0])


def _draw(
    task: Task, n: int, seed: int, counterfactual: str, tokenizer: Tokenizer, wanted: Sequence[str]
) -> list[Record]:
    # Seeding with a string goes through SHA-512, so it does not depend on PYTHONHASHSEED.
    rng = random.Random(f"{task.name}/{task.version}/{counterfactual}/{seed}")
    found: dict[str, list[Record]] = {split: [] for split in wanted}
    seen: set[bytes] = set()
    rejected: set[bytes] = set()
    misses = 0
    for candidate in task.generate(tokenizer, rng, counterfactual):
        key = canonical.dumps(candidate["clean"])
        misses += 1
        # A random generator never ends. If as many prompts as are lacking were left, all draws would miss them so many
        # times in a row with probability exp(-10): there are fewer.
        lacking = sum(n - len(records) for records in found.values())
        if misses > max(2000, 10 * (len(seen) + lacking) // lacking):
            break
        if key in seen:
            continue
        pair = canonical.dumps([candidate[name] for name in PAIR])
        if pair in rejected:
            continue
        if not _valid(candidate, tokenizer):
            rejected.add(pair)
            continue
        seen.add(key)
        misses = 0
        split = split_of(candidate["clean"])
        if split in found and len(found[split]) < n:
            found[split].append({"id": record_id(candidate), **candidate, "split": split})
            if all(len(records) == n for records in found.values()):
                return [record for records in found.values() for record in records]
    if not seen:
        why = "no prompt has clean and corrupted of equal length and answers of one token"
        raise cannot_express(task.name, tokenizer, why if rejected else "it has no prompt for it")
    counts = ", ".join(f"{len(records)} {split}" for split, records in found.items())
    raise MiError(
        f"task {task.name} has too few distinct prompts with tokenizer {tokenizer.id_name!r}: {counts}, {n} wanted",
        f"ask for at most -n {min(map(len, found.values()))}",
    )


def _valid(record: Record, tokenizer: Tokenizer) -> bool:
    """Equal lengths, no unknown word, every answer and foil one token."""
    clean, corrupted = record["clean"], record["corrupted"]
    if isinstance(clean, str):
        if len(tokenizer.encode(clean)) != len(tokenizer.encode(corrupted)):
            return False
        if tokenizer.unknown(clean) or tokenizer.unknown(corrupted):
            return False
    elif len(clean) != len(corrupted):
        return False
    targets = [tokenizer.single(t) if isinstance(t, str) else t for t in (*record["answers"], *record["foils"])]
    return clean != corrupted and None not in targets and len(set(targets)) == len(targets)


def _head(
    task: Task,
    n: int,
    seed: int,
    counterfactual: str,
    tokenizer: Tokenizer,
    splits: Sequence[str],
    records: Sequence[Record],
) -> dict[str, Any]:
    source = {
        "generator": task.name,
        "version": task.version,
        "seed": seed,
        "n": n,
        "counterfactual": counterfactual,
        "tokenizer": {"id": tokenizer.id_name, "sha256": tokenizer.digest},
    }
    return {
        "task": {"name": task.name, "metric": task.metric, "counterfactual": counterfactual},
        "examples": {"sha256": examples_digest(records), "n": dict.fromkeys(splits, n), "source": source},
    }
