"""Where a layer reads and writes the residual stream, and what passes between: a layer in, a port out."""

from __future__ import annotations

from mi.core.adapters import Layer
from mi.core.executor import Port


def stream(layer: Layer) -> Port:
    """The residual stream that the heads read."""
    return Port(layer.path(layer.roles.attention_norm or ""), "in")


def normed(layer: Layer) -> Port:
    """What the projections of q, k and v read."""
    norm = layer.roles.attention_norm
    return Port(layer.path(norm), "out") if norm else stream(layer)


def z(layer: Layer) -> Port:
    return Port(layer.path(layer.roles.heads_out), "in")


def attended(layer: Layer) -> Port:
    """What the heads write together, with b_O, before a post-norm."""
    return Port(layer.path(layer.roles.heads_out), "out")


def attention_out(layer: Layer) -> Port:
    """What enters the stream of it."""
    return Port(layer.path(layer.roles.attention_post_norm or layer.roles.heads_out), "out")


def mlp_stream(layer: Layer) -> Port:
    """The residual stream that the MLP reads."""
    norm = layer.roles.mlp_norm
    if layer.roles.parallel:
        return stream(layer)
    return Port(layer.path(norm), "in") if norm else mlp_in(layer)


def mlp_in(layer: Layer) -> Port:
    """What the MLP itself reads."""
    return Port(layer.path(layer.roles.mlp_in or layer.roles.mlp), "in")


def mlp_out(layer: Layer) -> Port:
    """The node: what enters the stream of the MLP."""
    return Port(layer.path(layer.roles.mlp_post_norm or layer.roles.mlp), "out")
