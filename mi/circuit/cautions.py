"""What a reader of a circuit and of its reports must know before believing them: heads and records in, sentences out.

Each caution says what was found and why it matters. Bars are customary, not laws: 20 examples for a bootstrap, an
interval of a fifth of the scale, four resamples in five.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mi.circuit import stability
from mi.circuit.reading import Scored
from mi.io import chain

Head = Mapping[str, Any]
Record = Mapping[str, Any]

FEW_EXAMPLES, FEW_TEMPLATES = 20, 5
WIDE = 0.2  # of an interval of faithfulness
STABLE = 0.8
RESAMPLES = 200
TESTS = ("completeness", "minimality", "sufficiency", "independence")


@dataclass(frozen=True)
class Caution:
    """`name` is one of a few words; `text` a sentence. `is_warning`: it may change what one believes; a note says what
    nobody looked at."""

    name: str
    text: str
    is_warning: bool = True


def of_report(head: Head, records: Sequence[Record]) -> Iterator[Caution]:
    """What speaks against the numbers of one report."""
    summaries = [r for r in records if "summary" in r and "test" not in r]
    run = head.get("scoring") or {}
    if run.get("overlap"):
        yield Caution("overlap", f"{run['overlap']}: the circuit looks better than it is on new examples")
    for why in dict.fromkeys(str(r["undetermined"]) for r in summaries if "undetermined" in r):
        yield Caution("undetermined", f"the report holds no number: {why}")
    yield from _of_examples(records, summaries, run)
    for r in summaries:
        if r["summary"] == "faithfulness" and r.get("nominal") is None:
            yield from _of_faithfulness(r)
    model = head.get("model") or {}
    if "from" in model and "to" in model:
        yield Caution("model", "the weights are not those that the circuit was found in: this measures another model")
    if head.get("scoring") is not None:
        tested = {r["test"] for r in records if "test" in r}
        missing = [] if any("nominal" in r for r in summaries) else [name for name in TESTS if name not in tested]
        if missing:
            text = f"not tested: {', '.join(missing)} (mi score --test)"
            yield Caution("untested", text, is_warning=False)


def _of_examples(records: Sequence[Record], summaries: Sequence[Record], run: Mapping[str, Any]) -> Iterator[Caution]:
    counts = {int(r["n"]) for r in summaries if "n" in r} or ({int(run["n"])} if "n" in run else set())
    if counts and min(counts) < FEW_EXAMPLES:
        n = min(counts)
        many = f"{n} examples" if n != 1 else "1 example"
        yield Caution("small n", f"{many}: below {FEW_EXAMPLES}, a bootstrap interval is too narrow")
    templates = {str(r["template"]) for r in records if r.get("template")}
    if 0 < len(templates) < FEW_TEMPLATES:
        many = f"{len(templates)} templates" if len(templates) > 1 else "one template"
        yield Caution("templates", f"all examples are of {many}: the numbers speak of no other prompts")


def _of_faithfulness(record: Record) -> Iterator[Caution]:
    low, high = record.get("low"), record.get("high")
    if record.get("size") == 0:
        yield Caution("empty", "the circuit is empty: its faithfulness is that of nothing")
    if low is None or high is None:
        return
    if high - low > WIDE:
        yield Caution("wide interval", f"faithfulness is known to ± {(high - low) / 2:.2g} only: use more examples")
    if low > 1:
        yield Caution("overshoot", "the circuit scores above the model: what was left out worked against the task")


def of_circuit(head: Head, records: Sequence[Record]) -> Iterator[Caution]:
    known = head.get("attribution") or {}
    n = known.get("n")
    if isinstance(n, int) and n < FEW_EXAMPLES:
        yield Caution("small n", f"the scores are of {n} examples only: others may choose another circuit")
    if not records:
        yield Caution("empty", "the circuit is empty")


def of_chain(head: Head) -> Iterator[Caution]:
    """Whether its past can be believed, and was made by one program."""
    broken = chain.broken(head)
    if broken:
        yield Caution("history", f"{broken}: where it comes from cannot be told")
    links = head.get("chain") or []
    versions = {str(link.get("version")) for link in links}
    if len(versions) > 1:
        yield Caution("versions", f"made by several versions of mi: {', '.join(sorted(versions))}")
    if any(link.get("argv", [""])[0] == "stamp" for link in links):
        yield Caution("edited", "the stream was edited by hand or by another program, and sealed again")


def of_pair(circuit: Head, report: Head, is_curve: bool) -> Iterator[Caution]:
    """Whether a report is of this circuit; that of a curve is of the scores before it."""
    if (circuit.get("graph") or {}).get("digest") != (report.get("graph") or {}).get("digest"):
        yield Caution("another graph", "the report is of a model of another shape than the circuit")
        return
    links = [link.get("id") for link in circuit.get("chain") or []]
    wanted = set(links[:-1] if is_curve else links[-1:])
    if wanted and not wanted & {link.get("id") for link in report.get("chain") or []}:
        yield Caution("another circuit", "the report was not made from this circuit")


def inclusion(scored: Scored, n: int, absolute: bool, seed: int = 0) -> np.ndarray | None:
    """In which share of the resamples of the examples each unit is among the n best; None where no shards are kept."""
    if scored.shards is None or scored.shard_n is None or len(scored.shard_n) < 2 or n < 1:
        return None
    unscored = np.isnan(scored.scores)
    shards = np.nan_to_num(scored.shards)
    share, _ = stability.inclusion(scored.units, n, shards, scored.shard_n, absolute, RESAMPLES, seed, drop=unscored)
    return share


def of_inclusion(share: np.ndarray, kept: np.ndarray, what: str) -> Iterator[Caution]:
    """`kept`: which units the circuit holds."""
    unstable = int(np.count_nonzero(kept & (share < STABLE)))
    total = int(np.count_nonzero(kept))
    if unstable:
        text = f"{unstable:,} of {total:,} {what}s are chosen in less than {100 * STABLE:.0f} % of the resamples"
        yield Caution("unstable", f"{text} of the examples: others may not choose them")
