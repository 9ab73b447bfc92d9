"""`mi data circuit`: circuits of the literature, as streams."""

from __future__ import annotations

from typing import Annotated

from mi.options import Argument, Json, Output, Quiet


def data_circuit(
    name: Annotated[
        str | None,
        Argument(metavar="NAME", show_default=False, help="ioi, greater-than or docstring."),
    ] = None,
    output: Output = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a circuit of the literature: which edges people found by hand, to hold scores against.

    ioi is that of Wang et al. (2022) in GPT-2 small, greater-than that of Hanna et al. (2023) there too, docstring that
    of Heimersheim and Janiak (2023) in a model of four attention layers. Their edges are those that ACDC's ROC curves
    count as true. The head says which node has which role.

    Examples:

        mi data circuit ioi -o ioi.jsonl

        mi eval ground-truth scores.jsonl --truth ioi.jsonl
    """
    import numpy as np

    from mi.circuit import literature
    from mi.circuit.levels import Units
    from mi.errors import UsageError
    from mi.io import chain
    from mi.run import invocation
    from mi.show.output import emit

    if name is None:
        raise UsageError("which circuit is not said", f"there are {', '.join(literature.NAMES)}")
    known = literature.get(name)
    graph, kept = known.graph, known.edges()
    selection = {
        "rule": "literature",
        "level": "edge",
        "source": known.source,
        "roles": {role: list(nodes) for role, nodes in known.roles.items()},
        "realised": int(kept.sum()),
        "edges": graph.n_edges,
    }
    head = {
        "kind": "circuit",
        "task": {"name": known.name},
        "model": {"id": known.model},
        "graph": graph.head(),
        "selection": selection,
    }
    records = Units(graph).records(np.flatnonzero(kept), np.full(graph.n_edges, np.nan))
    emit(chain.record(head, invocation()), records, output=output, json=json)
