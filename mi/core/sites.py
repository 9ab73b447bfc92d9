"""Sites: names of activations. An alias such as ``blocks.3.attn.z`` through the adapter, or any module's input or
output, ``model.layers.3.mlp:output``.

Flows in: a name. Flows out: a :class:`Site`, the port where the activation is and the view of it that the name
promises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from mi.core import ports
from mi.core.adapters import ATTENTION, Adapter, Layer
from mi.core.executor import Port
from mi.core.receivers import projection_ports, split
from mi.errors import MiError

SIDES = {"input": "in", "output": "out"}


@dataclass(frozen=True)
class Site:
    """``view`` takes the port's tensor to the site's [batch, pos, ...]; ``shape`` names and sizes what follows batch
    and pos (empty where only a run can tell)."""

    name: str
    port: Port
    shape: tuple[tuple[str, int], ...]
    view: Callable[[Tensor], Tensor]


def _whole(value: Tensor) -> Tensor:
    return value


def aliases(adapter: Adapter) -> list[Site]:
    """Every site that the adapter has a name for, in the order of a forward pass."""
    roles, wide = adapter.roles, (("d_model", adapter.d_model),)
    sites = [Site("embed", Port(roles.embed, "out"), wide, _whole)]
    if roles.position:
        sites.append(Site("position", Port(roles.position, "out"), wide, _whole))
    for layer in adapter.layers:
        sites += _of_layer(adapter, layer)
    sites.append(Site("final_norm", Port(roles.final_norm, "out"), wide, _whole))
    return sites


def _of_layer(adapter: Adapter, layer: Layer) -> list[Site]:
    """What a layer has: some have no norm of the stream, and in a parallel block there is no stream in the middle."""
    roles, name = layer.roles, f"blocks.{layer.index}"
    last = layer.index == adapter.n_layers - 1
    after = Port(roles.final_norm, "in") if last else ports.stream(adapter.layers[layer.index + 1])

    def wide(site: str, port: Port) -> Site:
        return Site(f"{name}.{site}", port, (("d_model", adapter.d_model),), _whole)

    sites = [wide("resid_pre", ports.stream(layer))]
    if roles.attention_norm:
        sites.append(wide("attn.norm", ports.normed(layer)))
    sites += [_projected(adapter, layer, which) for which in range(3)]
    if roles.implementation == ATTENTION or roles.mixer:
        sites.append(_pattern(adapter, layer))
    heads = (("head", layer.n_heads), ("d_head", layer.d_head))
    sites.append(Site(f"{name}.attn.z", ports.z(layer), heads, _by_head(layer.d_head)))
    sites.append(wide("attn.out", ports.attention_out(layer)))
    if not roles.parallel:
        sites.append(wide("resid_mid", ports.mlp_stream(layer)))
    if roles.mlp_norm:
        sites.append(wide("mlp.norm", Port(layer.path(roles.mlp_norm), "out")))
    return [*sites, wide("mlp.out", ports.mlp_out(layer)), wide("resid_post", after)]


def _by_head(d_head: int) -> Callable[[Tensor], Tensor]:
    return lambda value: value.unflatten(-1, (-1, d_head))


def _projected(adapter: Adapter, layer: Layer, which: int) -> Site:
    """q, k or v as the projection writes them: before rotary positions; keys and values in their grouped heads, or each
    query head's own where the block repeats them (`grouping`).
    """
    heads = layer.n_heads if which == 0 or layer.repeats else layer.n_kv_heads
    port = projection_ports(adapter, layer)[0 if layer.fused else which]

    def view(value: Tensor) -> Tensor:
        return split(layer, [value])[which if layer.fused else 0]

    return Site(f"blocks.{layer.index}.attn.{'qkv'[which]}", port, (("head", heads), ("d_head", layer.d_head)), view)


def _pattern(adapter: Adapter, layer: Layer) -> Site:
    """Softmax of the scores, [batch, query pos, head, key pos]: seen through the attention function, so it cannot be
    edited.
    """
    attention = adapter.roles.heads_out.rpartition(".")[0]
    port = Port(f"{adapter.roles.blocks}.{layer.index}.{attention}", "pattern")
    shape = (("head", layer.n_heads), ("key pos", 0))
    return Site(f"blocks.{layer.index}.attn.pattern", port, shape, lambda value: value.transpose(1, 2))


def matching(adapter: Adapter, patterns: Sequence[str]) -> tuple[Site, ...]:
    """The sites that names or shell patterns mean, each once: `*` stands for what is between two dots, `**` for all.

    Raises:
        MiError: one of them means none.
    """
    found: dict[str, Site] = {}
    for pattern in patterns:
        if "*" not in pattern and "?" not in pattern:
            found[pattern] = resolve(adapter, pattern)
            continue
        match = glob(pattern).fullmatch
        sites = [site for site in aliases(adapter) if match(site.name)]
        if ":" in pattern:
            names = [f"{path}:{side}" for path, _ in adapter.module.named_modules() if path for side in SIDES]
            sites = [resolve(adapter, name) for name in names if match(name)]
        if not sites:
            raise MiError(f"no site is called '{pattern}'", "mi info -m MODEL lists the sites", code=2)
        found |= {site.name: site for site in sites}
    return tuple(found.values())


def glob(pattern: str) -> re.Pattern[str]:
    """A shell pattern over dotted names as a regular expression."""
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    spelled = {"**": ".*", "*": "[^.:]*", "?": "[^.:]"}
    return re.compile("".join(spelled.get(part, re.escape(part)) for part in parts))


def resolve(adapter: Adapter, name: str) -> Site:
    """The site called ``name``.

    Raises:
        MiError: no alias and no module is called so.
    """
    path, colon, side = name.rpartition(":")
    if colon:
        if side not in SIDES:
            raise MiError(f"site '{name}' ends in ':{side}'", "a module's site ends in :input or :output", code=2)
        try:
            adapter.module.get_submodule(path)
        except AttributeError:
            raise MiError(f"the model has no module '{path}'", "mi info -m MODEL lists its sites", code=2) from None
        return Site(name, Port(path, SIDES[side]), (), _whole)  # type: ignore[arg-type]
    for site in aliases(adapter):
        if site.name == name:
            return site
    raise MiError(f"no site is called '{name}'", "mi info -m MODEL lists the sites, such as blocks.0.attn.z", code=2)
