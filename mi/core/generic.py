"""The generic executor: the same edits as nnsight traces.

Slower than hooks, but it is nnsight that runs the model: the way to tensor-parallel and remote execution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from mi.core import ports
from mi.core.adapters import Adapter
from mi.core.executor import Edit, Port, Side, patterns_seen
from mi.core.fast import at_read
from mi.core.fitting import fitted
from mi.core.placement import placed
from mi.core.rules import activations, product_reader

SIDES: tuple[Side, Side] = ("in", "out")


class GenericExecutor:
    """Runs the model inside an nnsight trace; ports are read and written in the order in which the model reaches
    them.
    """

    name = "generic"

    def __init__(self, adapter: Adapter, wrapper: Any) -> None:
        self._adapter = adapter
        self._wrapper = wrapper
        self._order = {port: place for place, port in enumerate(execution_order(adapter))}

    def run(
        self, ids: Int[Tensor, "batch pos"], edits: Sequence[Edit], read: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch vocab"]:
        import nnsight

        unembed = self._adapter.roles.unembed
        only_read = Edit(Port(unembed, "in"), lambda hidden: at_read(hidden, read))
        traced = fitted(self._adapter, [edit for edit in edits if edit.port.side != "pattern"], len(ids))
        traced = placed(self._adapter.placement, [*traced, only_read])
        ordered = sorted(traced, key=lambda edit: self._order[edit.port])
        steps = [(self._wrapper.get(edit.port.path), edit) for edit in ordered]
        seen = patterns_seen(self._adapter.module, placed(self._adapter.placement, edits))
        with seen, self._wrapper.trace(input_ids=ids, use_cache=False):
            for envoy, edit in steps:
                if edit.port.side == "in":
                    value = edit.function(envoy.input)
                    if value is not None:
                        envoy.input = value
                else:
                    value = edit.function(envoy.output)
                    if value is not None:
                        envoy.output = value
            logits = nnsight.save(self._wrapper.output.logits)
        return logits


def execution_order(adapter: Adapter) -> list[Port]:
    """Every port that an adapter names, in the order of a forward pass."""
    roles = adapter.roles
    order = [Port(roles.embed, "in"), Port(roles.embed, "out")]
    if roles.position:
        order += [Port(roles.position, "in"), Port(roles.position, "out")]
    for layer in adapter.layers:
        of_mlp = [layer.path(part) for part in (*activations(layer), *product_reader(layer))]
        parts = (*roles.queries_keys_values, roles.heads_out, roles.attention_post_norm, roles.mlp_norm)
        first = (roles.attention_norm, roles.mlp_norm if roles.mlp_norm_first else None)
        own = [layer.path(part) for part in (*first, *parts) if part]
        order.append(Port(layer.path(), "in"))
        order += [Port(path, side) for path in own for side in SIDES]
        order.append(ports.mlp_in(layer))
        order += [Port(path, "out") for path in (layer.path(part) for part in roles.mlp_reads)]
        order += [Port(path, side) for path in of_mlp for side in SIDES]
        order += [Port(layer.path(roles.mlp), side) for side in SIDES]
        order += [Port(layer.path(roles.mlp_post_norm), side) for side in SIDES if roles.mlp_post_norm]
    order += [Port(path, side) for path in (roles.final_norm, roles.unembed) for side in SIDES]
    return list(dict.fromkeys(order))  # a part with two roles comes where the first puts it
