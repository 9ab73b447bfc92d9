"""Activation patching by hooks on a Hugging Face model, one example and one place at a time. No code of the package."""

from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from tests.oracle.metrics import Example, metric

Tensor = torch.Tensor


def patched(
    module: Any,
    example: Example,
    name: str,
    site: str,
    layer: int,
    head: int | None,
    position: int | None,
    noising: bool,
) -> float:
    """The metric of the clean run with one corrupted activation, or of the corrupted run with one clean one."""
    clean, corrupted = torch.tensor([list(example.clean)]), torch.tensor([list(example.corrupted)])
    base, other = (clean, corrupted) if noising else (corrupted, clean)
    with torch.no_grad():
        reference = module(clean).logits[0, example.read]
        wanted = _seen(module, other, site, layer)
        own_before = _seen(module, base, "resid_pre", layer)
        width = _head_width(module)

        def change(value: Tensor) -> Tensor:
            """The site's value [pos, width] with the chosen places taken from the other run."""
            value = value.clone()
            for t in range(value.shape[0]):
                if position is not None and t != position:
                    continue
                if head is None:
                    value[t] = wanted[t]
                else:
                    value[t, head * width : (head + 1) * width] = wanted[t, head * width : (head + 1) * width]
            return value

        with _changed(module, site, layer, change, own_before):
            logits = module(base).logits[0, example.read]
    return float(metric(name, logits, example, reference))


def _parts(module: Any, layer: int) -> dict[str, Any]:
    if module.config.model_type == "gpt2":
        block = module.transformer.h[layer]
        return {
            "block": block,
            "attn": block.attn,
            "mlp": block.mlp,
            "before_mlp": block.ln_2,
            "out": block.attn.c_proj,
        }
    block = module.model.layers[layer]
    attn = block.self_attn
    return {
        "block": block,
        "attn": attn,
        "mlp": block.mlp,
        "before_mlp": block.post_attention_layernorm,
        "out": attn.o_proj,
    }


def _head_width(module: Any) -> int:
    config = module.config
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _projection(module: Any, layer: int, site: str) -> tuple[Any, slice]:
    """The module that writes q, k or v, and where in its output."""
    attn = _parts(module, layer)["attn"]
    if module.config.model_type == "gpt2":
        d, part = module.config.n_embd, "qkv".index(site)
        return attn.c_attn, slice(part * d, (part + 1) * d)
    return getattr(attn, f"{site}_proj"), slice(None)


def _seen(module: Any, ids: Tensor, site: str, layer: int) -> Tensor:
    """[pos, width] of a site in a plain run."""
    kept: list[Tensor] = []
    parts = _parts(module, layer)
    with ExitStack() as stack:

        def look(part: Any, at_input: bool, where: slice = slice(None)) -> None:
            def before(_: Any, inputs: Any) -> None:
                kept.append(inputs[0][0, :, where])

            def after(_: Any, __: Any, output: Any) -> None:
                kept.append((output[0] if isinstance(output, tuple) else output)[0, :, where])

            handle = part.register_forward_pre_hook(before) if at_input else part.register_forward_hook(after)
            stack.callback(handle.remove)

        if site in "qkv":
            look(_projection(module, layer, site)[0], False, _projection(module, layer, site)[1])
        else:
            part, at_input = {
                "resid_pre": ("block", True),
                "resid_post": ("block", False),
                "resid_mid": ("before_mlp", True),
                "attn_out": ("attn", False),
                "mlp_out": ("mlp", False),
                "z": ("out", True),
            }[site]
            look(parts[part], at_input)
        module(ids)
    (value,) = kept
    return value


@contextmanager
def _changed(module: Any, site: str, layer: int, change: Callable[[Tensor], Tensor], before: Tensor) -> Any:
    parts = _parts(module, layer)

    def at_input(_: Any, inputs: Any) -> Any:
        return (change(inputs[0][0])[None], *inputs[1:])

    def at_output(_: Any, __: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0][0])[None], *output[1:])
        return change(output[0])[None]

    def in_the_middle(_: Any, __: Any, output: Any) -> Any:
        """The stream after attention is what stood before it plus what attention writes."""
        return ((change(before + output[0][0]) - before)[None], *output[1:])

    def part_of_output(_: Any, __: Any, output: Tensor) -> Tensor:
        where = _projection(module, layer, site)[1]
        output = output.clone()
        output[0, :, where] = change(output[0, :, where])
        return output

    if site in "qkv":
        handle = _projection(module, layer, site)[0].register_forward_hook(part_of_output)
    elif site in ("resid_pre", "z"):
        handle = parts["block" if site == "resid_pre" else "out"].register_forward_pre_hook(at_input)
    elif site == "resid_mid":
        handle = parts["attn"].register_forward_hook(in_the_middle)
    else:
        name = {"resid_post": "block", "attn_out": "attn", "mlp_out": "mlp"}[site]
        handle = parts[name].register_forward_hook(at_output)
    try:
        yield
    finally:
        handle.remove()
