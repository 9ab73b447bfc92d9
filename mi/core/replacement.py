"""What a dropped edge carries instead of its source's value: one table for attribution, patching and scoring.

Flows in: the model and what the ablation needs: the examples' corrupted prompts, other examples (`drawn`), or constants
of the examples or of a file (:class:`Given`). Flows out: :class:`Outputs` of the replacement, broadcastable over batch
and position.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from mi.core.batches import make_batch
from mi.core.executor import Executor
from mi.core.memory import halving
from mi.core.model import Model
from mi.core.outputs import Outputs, Recorder
from mi.core.team import ALONE, Team
from mi.core.wide import float64
from mi.errors import MiError
from mi.tasks.encode import Encoded

OF_A_RUN = ("counterfactual", "resample")
OF_A_FILE = ("optimal",)  # learned constants: nothing else can make them
ABLATIONS = (*OF_A_RUN, "zero", "mean", "mean-positional", *OF_A_FILE)


@dataclass(frozen=True)
class Given:
    """What an ablation needs beside the examples: constants that a file holds, and the seed that `resample` draws
    with.
    """

    constants: Outputs | None = None
    seed: int = 0


NOTHING = Given()


@dataclass(frozen=True)
class Replacement:
    """``values`` gives what replaced edges carry; ``means`` are the constants of an ablation that has some."""

    name: str
    means: Outputs | None = None

    @property
    def from_corrupted(self) -> bool:
        """Whether the values are those of a run, so that a node that reads only replaced values writes them too."""
        return self.name in OF_A_RUN


def record(model: Model, executor: Executor, ids: torch.Tensor, read: torch.Tensor) -> tuple[Outputs, torch.Tensor]:
    """Every node's output in a plain run of ``ids``, and the logits at the read position."""
    recorder = Recorder(model.adapter)
    with torch.no_grad():
        logits = executor.run(ids, recorder.edits(), read)
    return recorder.outputs(), logits


def check(name: str, lengths: Iterable[int], given: Given = NOTHING) -> None:
    """Refuse an ablation that does not exist or cannot be applied to examples of these lengths."""
    if name not in ABLATIONS:
        raise MiError(f"no ablation '{name}'", f"ablations are {', '.join(ABLATIONS)}", code=2)
    if name in OF_A_FILE and given.constants is None:
        raise MiError(f"the constants of '{name}' are learned, not computed", "name their file with --means", code=2)
    several = sorted(set(lengths))
    if name == "mean-positional" and given.constants is None and len(several) > 1:
        raise MiError(
            f"mean-positional needs examples of one length, these have {several[0]} to {several[-1]} tokens",
            "use --ablation mean, or data of one length",
        )
    held = 1 if given.constants is None else given.constants.embed.shape[1]
    if held > 1 and several and several[-1] > held:
        raise MiError(
            f"there are constants for {held} positions, and an example has {several[-1]} tokens",
            "make them from longer text, or use those that do not depend on the position",
        )


def drawn(name: str, examples: Sequence[Encoded], given: Given = NOTHING) -> Sequence[Encoded]:
    """The examples as the ablation sees them. For `resample` the corrupted prompt of each is the clean prompt of
    another one of its length, so that whatever runs on corrupted prompts runs on these.

    The examples of one length stand in a ring, in an order that depends on the seed and on what they are, not on where
    they stand; each is replaced by the next: never by itself unless it is alone, and all are used equally often.
    """
    if name != "resample":
        return examples
    rings: dict[int, list[int]] = {}
    for row in sorted(range(len(examples)), key=lambda row: (_lot(examples[row], given.seed), row)):
        rings.setdefault(len(examples[row].clean), []).append(row)
    next_of = {row: ring[(place + 1) % len(ring)] for ring in rings.values() for place, row in enumerate(ring)}
    return [
        dataclasses.replace(example, corrupted=examples[next_of[row]].clean) for row, example in enumerate(examples)
    ]


def _lot(example: Encoded, seed: int) -> str:
    return hashlib.sha256(f"{seed} {example.id} {example.clean}".encode()).hexdigest()


def make(
    name: str,
    model: Model,
    executor: Executor,
    examples: Sequence[Encoded],
    plan: Sequence[Sequence[int]],
    on_halved: Callable[[int], None] = lambda n: None,
    given: Given = NOTHING,
    team: Team = ALONE,
) -> Replacement:
    """The replacement called ``name``. Where ``given`` holds no constants, means are over the clean prompts of
    ``examples``, which are those that `drawn` gave; ``plan`` are the batches that this process of the team runs.
    """
    if name in ("zero", *OF_A_RUN):
        return Replacement(name)
    if given.constants is not None:
        return Replacement(name, given.constants)
    return Replacement(name, means(model, executor, examples, plan, name == "mean-positional", on_halved, team=team))


def means(
    model: Model,
    executor: Executor,
    examples: Sequence[Encoded],
    plan: Sequence[Sequence[int]],
    by_position: bool,
    on_halved: Callable[[int], None] = lambda n: None,
    on_done: Callable[[int], None] = lambda n: None,
    team: Team = ALONE,
) -> Outputs:
    """Each node's own mean over every position of every clean prompt (or at each position), all tokens counting alike.

    The reference (spec B0 row 5) has one vector for all nodes.
    """
    totals: list[torch.Tensor] = []
    count = 0

    def add(rows: Sequence[int]) -> None:
        nonlocal totals, count
        batch = make_batch(examples, rows, model.device)
        outputs, _ = record(model, executor, batch.clean, batch.read)
        summed = [_sum(t, by_position) for t in (outputs.embed, *outputs.z, *outputs.mlp)]
        totals = summed if not totals else [a + b for a, b in zip(totals, summed, strict=True)]
        count += len(batch) * (1 if by_position else batch.clean.shape[1])
        on_done(len(batch))

    halving(plan, add, on_halved)
    totals, count = team.total(totals, count)
    found = [(total / count).to(model.compute_dtype).to(model.device) for total in totals]
    n_layers = model.adapter.n_layers
    return Outputs(found[0], found[1 : 1 + n_layers], found[1 + n_layers :])


def _sum(values: torch.Tensor, by_position: bool) -> torch.Tensor:
    """Float64 sum over examples (and positions), kept broadcastable as [1, pos or 1, width]."""
    made = float64(values)
    return made.sum(0, keepdim=True) if by_position else made.sum((0, 1), keepdim=True)


def values(replacement: Replacement, clean: Outputs, corrupted: Outputs | None) -> Outputs:
    """What replaced edges carry in a batch whose clean outputs are ``clean``."""
    if replacement.from_corrupted:
        assert corrupted is not None
        return corrupted
    if replacement.name == "zero":
        return clean.map(lambda t: t.new_zeros(1, 1, t.shape[-1]))
    assert replacement.means is not None
    length = clean.embed.shape[1]  # constants of a file may reach further than these examples
    return replacement.means.map(lambda t: t[:, :length])
