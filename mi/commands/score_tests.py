"""What `mi score --test` was asked for: checked against what came in, its cost, and the examples it needs besides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mi.errors import UsageError

if TYPE_CHECKING:
    from mi.circuit.examine import Record
    from mi.circuit.report import Circuits
    from mi.core.circuits import CircuitRuns
    from mi.core.model import Model
    from mi.io.stream import Stream
    from mi.tasks.encode import Encoded
    from mi.tasks.subject import Examples

OF_SCORES = ("random", "gap", "stability")


@dataclass(frozen=True)
class Asked:
    """The names of tests, and how many random circuits or rankings they take."""

    names: tuple[str, ...]
    n_random: int
    seed: int

    def check(self, piped: Stream) -> None:
        """
        Raises:
            UsageError: a test that there is not, or that does not apply to this stream.
        """
        from mi.circuit.examine import TESTS

        known = (*TESTS, "gap", "stability")
        for name in self.names:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"tests are {', '.join(known)}"
                raise UsageError(f"--test {name} is no test", hint)
        if piped.kind == "scores":
            wrong = [name for name in self.names if name not in OF_SCORES]
            if wrong:
                raise UsageError(f"--test {wrong[0]} is of a circuit, and these are scores", "choose one: mi prune")
        elif "stability" in self.names:
            raise UsageError("--test stability is of scores, which hold their shards", "test the scores themselves")
        of_edges = [name for name in self.names if name not in ("gap", "stability")]
        if of_edges and _level(piped) == "neuron":
            raise UsageError(f"--test {of_edges[0]} is of edges or nodes, and this is of neurons", "leave it away")

    def n_runs(self, piped: Stream) -> int:
        """How many circuits the tests run beside the one or the curve, at most."""
        from mi.circuit.examine import n_runs

        gap = "gap" in self.names
        if piped.kind == "scores":
            return 20 * gap + 10 * self.n_random * ("random" in self.names)
        edges = int((piped.head.get("selection") or {}).get("edges", len(piped.records)))
        nodes = len({record["src"] for record in piped.records if "src" in record})
        return gap + n_runs(self.names, edges, nodes, self.n_random)

    def chose(
        self, examples: Examples, head: Mapping[str, Any], split: str, limit: int | None
    ) -> tuple[str, list[int]]:
        """The split that the scores were computed on, and its rows.

        Raises:
            UsageError: it is the split that the circuit is judged on.
        """
        from mi.tasks import subject

        used = str((head.get("attribution") or {}).get("split") or "train")
        if used == split or "all" in (used, split):
            raise UsageError(f"--test gap compares {split} with {used}, which are not apart", "use another --split")
        return used, subject.select(examples, used, limit)[0]

    def records(
        self,
        piped: Stream,
        ready: Model,
        encoded: Sequence[Encoded],
        chose: tuple[str, Sequence[Encoded]],
        how: dict[str, Any],
        circuits: Circuits,
        got: CircuitRuns,
        rule: str,
    ) -> list[Record]:
        """Run the tests. ``chose``: the split that chose the circuit, and its examples."""
        from mi.circuit.reading import scored
        from mi.core.examination import Examination
        from mi.show.progress import progress

        if not self.names:
            return []
        with progress(self.n_runs(piped), "test") as bar:
            examination = Examination(ready, encoded, how, self.n_random, self.seed, bar.advance)
            if piped.kind == "circuit":
                records = examination.of_circuit(circuits, got, self.names)
            else:
                records = examination.of_scores(scored(piped, ready.graph), rule, got, self.names)
            if "gap" in self.names:
                records += examination.gap(circuits, got, chose[1], chose[0])
        return records


def _level(piped: Stream) -> str:
    from mi.circuit.reading import level_of

    return level_of(piped)
