"""Whether two streams may be compared, and what a reader of the comparison must know: two heads in, a refusal or notes
out.

Numbers about another graph, task, metric or ablation are other numbers: that is an error. Another model, version,
device or plan of batches is what a comparison is often for, or does not matter much; but it is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mi.errors import MiError
from mi.io.chain import LIBRARIES

Head = Mapping[str, Any]


def refuse(new: Head, old: Head, new_name: str, old_name: str) -> None:
    """Refuse two streams that are about different things; say what differs."""
    for what, ours, theirs in _must_agree(new, old):
        if ours is not None and theirs is not None and ours != theirs:
            raise MiError(
                f"the {what} differs: {ours} here, {theirs} in {old_name}",
                "only results about the same graph, task, metric and ablation are compared",
                place=new_name,
            )


def _must_agree(new: Head, old: Head) -> Iterator[tuple[str, Any, Any]]:
    yield "graph", graph_text(new), graph_text(old)
    for what, part, key in (
        ("task", "task", "name"),
        ("counterfactual of the task", "task", "counterfactual"),
        ("metric", "scoring", "metric"),
        ("ablation", "scoring", "ablation"),
    ):
        yield what, _part(new, part).get(key), _part(old, part).get(key)


def notes(new: Head, old: Head) -> Iterator[tuple[str, str]]:
    """What differs, as a short name and a sentence: first the old, then the new."""
    for name, what, ours, theirs in _worth_saying(new, old):
        if ours != theirs:
            yield name, f"{what}: {_said(ours)}, was {_said(theirs)}"


def all_notes(new: Head, old: Head) -> Iterator[tuple[str, str]]:
    """`notes`, and what `refuse` would refuse beside another graph: for comparisons that are about just that."""
    for what, ours, theirs in [*_must_agree(new, old)][1:]:
        if ours != theirs:
            yield what, f"another {what}: {_said(ours)}, was {_said(theirs)}"
    for key in ("method", "rule", "steps", "ablation", "metric", "level"):
        ours, theirs = (_part(head, "attribution").get(key) for head in (new, old))
        if ours != theirs:
            yield key, f"another {key} of attribution: {_said(ours)}, was {_said(theirs)}"
    yield from notes(new, old)


def _worth_saying(new: Head, old: Head) -> Iterator[tuple[str, str, Any, Any]]:
    yield "model", "another model", model_text(new), model_text(old)
    yield "dtype", "another number format", _part(new, "model").get("dtype"), _part(old, "model").get("dtype")
    yield "version", "another version of mi", _versions(new), _versions(old)
    yield "edited", "edits sealed by mi stamp", _stamps(new), _stamps(old)
    mine, theirs = _part(_ran(new), "env"), _part(_ran(old), "env")
    for library in LIBRARIES:
        yield "library", f"another version of {library}", mine.get(library), theirs.get(library)
    yield "device", "another device", mine.get("device"), theirs.get("device")
    for name, what in (
        ("plan", "another plan of batches"),
        ("executor", "another executor"),
        ("selector", "another way to choose the curve's circuits"),
        ("means", "other constants for the ablation"),
        ("split", "another split of the examples"),
    ):
        yield name, what, _part(new, "scoring").get(name), _part(old, "scoring").get(name)


def _part(head: Head, name: str) -> Mapping[str, Any]:
    found = head.get(name)
    return found if isinstance(found, Mapping) else {}


def _links(head: Head) -> list[Mapping[str, Any]]:
    return [link for link in head.get("chain") or [] if isinstance(link, Mapping)]


def _ran(head: Head) -> Mapping[str, Any]:
    """The newest link that ran a model, as what came after only passed its numbers on; else the newest."""
    links = _links(head)
    return next((link for link in reversed(links) if "device" in _part(link, "env")), links[-1] if links else {})


def _versions(head: Head) -> str | None:
    """All that took part, in their order."""
    return ", ".join(dict.fromkeys(str(link.get("version")) for link in _links(head))) or None


def _stamps(head: Head) -> int:
    return sum((link.get("argv") or [None])[0] == "stamp" for link in _links(head))


def graph_text(head: Head) -> str | None:
    graph = head.get("graph")
    if not graph:
        return None
    shape = " ".join(f"{key}={value}" for key, value in (graph.get("params") or {}).items() if value is not None)
    return f"{graph['builder']} {shape}".rstrip() + f" ({str(graph['digest'])[:12]})"


def model_text(head: Head) -> str | None:
    """Its name, and the digest of its weights: one folder may hold other weights tomorrow."""
    model = _part(head, "model")
    if not model:
        return None
    weights = f" (weights {str(model['weights'])[:12]})" if "weights" in model else ""
    return f"{model.get('id')}{weights}"


def _said(value: Any) -> str:
    if value is None:
        return "not said"
    if isinstance(value, list):  # a plan: [size, how many in a row]
        return " ".join(f"{run[1]}x{run[0]}" if isinstance(run, list) and len(run) == 2 else str(run) for run in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {str(item)[:12]}" for key, item in value.items())
    return str(value)
