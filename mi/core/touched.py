"""A block of which each row touches one head: from the change of that head's z alone, without the wide products.

    heads' output  =  what it was + dz W_O,h
    MLP's reading  =  W norm(x + dz W_O,h) + b  =  ((W gamma C) x + [(W gamma C) W_O,h^T] dz) / sigma' + (W beta + b)

Exact algebra: dz is d_head wide where x is d_model wide, and what stands in round and square brackets is made once.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from mi.core import norms
from mi.core.adapters import Layer
from mi.core.executor import Edit, Port
from mi.core.model import Model


def holds(layer: Layer) -> bool:
    """Whether a block is put together so that the above is all: heads, a norm of its own for the MLP, and linear maps
    that are all the MLP reads with."""
    roles = layer.roles
    plain = roles.mlp_norm is not None and roles.attention_post_norm is None and not roles.parallel
    return plain and bool(roles.mlp_reads) and not roles.side_by_side


class Touched:
    """One layer of the run that is patched, ready for any number of rows."""

    def __init__(
        self,
        model: Model,
        layer: Layer,
        stream: Float[Tensor, "batch pos d_model"],
        z: Float[Tensor, "batch pos heads_x_d_head"],
        attended: Float[Tensor, "batch pos d_model"],
    ) -> None:
        """The stream before the block, its heads' z, and what they write (with b_O)."""
        self._model, self._layer = model, layer
        self._stream, self._z, self._attended = stream, z, attended
        dtype = stream.dtype
        self._weights = [norms.folded(layer.mlp_norm, weight.unsqueeze(0), dtype)[0] for weight in layer.mlp_weights()]
        self._constants = [
            norms.folded_bias(layer.mlp_norm, weight.unsqueeze(0), None if bias is None else bias.unsqueeze(0), dtype)[
                0
            ]
            for weight, bias in zip(layer.mlp_weights(), layer.mlp_biases(), strict=True)
        ]
        self._made: dict[int, list[Tensor]] = {}
        middle = stream + attended
        self._read = [middle @ weight.T for weight in self._weights]  # [batch, pos, d_mlp]

    def _products(self, head: int) -> list[Float[Tensor, "d_head d_mlp"]]:
        """What each of the MLP's linear maps makes of a head's z; kept, for a head is touched in q, in k and in v."""
        if head not in self._made:
            to_stream = self._layer.output_weight[head].to(self._stream.dtype)
            self._made[head] = [to_stream @ weight.T for weight in self._weights]
        return self._made[head]

    def edits(self, copies: int, heads: Sequence[tuple[int, Int[Tensor, " _"]]]) -> list[Edit]:
        """For ``copies`` of the batch, of which the given rows touch the given heads."""
        roles, layer = self._model.adapter.roles, self._layer
        base = f"{roles.blocks}.{layer.index}"
        wrote: list[Tensor] = []
        read: list[Tensor] = []

        def see(z: Tensor) -> None:
            out = self._attended.repeat(copies, 1, 1)
            reading = [value.repeat(copies, 1, 1) for value in self._read]
            before = self._z.repeat(copies, 1, 1)
            for head, rows in heads:
                columns = slice(head * layer.d_head, (head + 1) * layer.d_head)
                change = z[rows][..., columns] - before[rows][..., columns]
                out[rows] += change @ layer.output_weight[head].to(z.dtype)
                for value, product in zip(reading, self._products(head), strict=True):
                    value[rows] += change @ product
            at = norms.normalise(layer.mlp_norm, self._stream.repeat(copies, 1, 1) + out, self._stream.dtype)
            for value, constant in zip(reading, self._constants, strict=True):
                value.mul_(at.inverse_sigma).add_(constant)
            wrote.append(out)
            read.extend(reading)

        shape_only = self._stream.new_zeros(()).expand(copies * len(self._stream), *self._stream.shape[1:])
        edits = [
            Edit(Port(f"{base}.{roles.heads_out}", "in"), see),
            Edit(Port(f"{base}.{roles.heads_out}", "out"), lambda _: wrote[0], replaces=True),
            Edit(Port(f"{base}.{roles.mlp_norm}", "out"), lambda _: shape_only, replaces=True),
        ]
        for number, path in enumerate(roles.mlp_reads):
            port = Port(f"{base}.{path}", "out")
            edits.append(Edit(port, lambda _, number=number: read[number], replaces=True))  # type: ignore[misc]
        return edits
