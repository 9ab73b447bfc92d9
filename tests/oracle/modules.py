"""Any module by plain hooks, one example and one place at a time, in float64. No code of the package."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from tests.oracle.metrics import Example, metric

Tensor = torch.Tensor
Change = Callable[[Tensor], Tensor]


def logits(module: Any, arguments: Mapping[str, Any], site: str = "", change: Change | None = None) -> Tensor:
    """[classes] of one example, with what passes `path:input` or `path:output` changed on the way."""
    path, _, side = site.rpartition(":")
    part = module.get_submodule(path) if site else None

    def before(_: Any, inputs: Any, named: Any) -> Any:
        if inputs:
            return (change(inputs[0]), *inputs[1:]), named
        name = next(iter(named))
        return inputs, {**named, name: change(named[name])}

    def after(_: Any, __: Any, output: Any) -> Any:
        if isinstance(output, Tensor):
            return change(output)
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        name = next(iter(output))
        output[name] = change(output[name])
        return output

    handle = None
    if part is not None and side == "input":
        handle = part.register_forward_pre_hook(before, with_kwargs=True)
    elif part is not None:
        handle = part.register_forward_hook(after)
    try:
        with torch.no_grad():
            output = module(**{name: torch.as_tensor(value)[None] for name, value in arguments.items()})
    finally:
        if handle is not None:
            handle.remove()
    if isinstance(output, Tensor):
        return output[0]
    return next(value for name, value in output.items() if name.endswith("logits"))[0]


def seen(module: Any, arguments: Mapping[str, Any], site: str) -> Tensor:
    """What passes a site, of one example."""
    kept: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        kept.append(value.clone())
        return value

    logits(module, arguments, site, keep)
    return kept[0]


def measure(module: Any, name: str, example: Example, arguments: Any, site: str = "", change: Any = None) -> float:
    """The metric of one run of one example."""
    reference = logits(module, example.clean)
    return float(metric(name, logits(module, arguments, site, change), example, reference))


def patched(module: Any, name: str, example: Any, site: str, position: int | None, noising: bool) -> float:
    """The metric with what the other run has at the site, at one position (the axis before the last) or at all."""
    base, other = (example.clean, example.corrupted) if noising else (example.corrupted, example.clean)
    target = seen(module, other, site)

    def change(value: Tensor) -> Tensor:
        made = value.clone()
        if position is None:
            return target
        for feature in range(value.shape[-1]):
            made[..., position, feature] = target[..., position, feature]
        return made

    return measure(module, name, example, base, site, change)


def slope(module: Any, name: str, example: Any, arguments: Any, site: str, along: Tensor, at: Tensor | None) -> float:
    """d metric / d t, as t `along` is added to what passes the site (or to `at`, which takes its place)."""
    step = 1e-6

    def moved(t: float) -> float:
        return measure(
            module, name, example, arguments, site, lambda value: (value if at is None else at) + t * along
        )  # fmt: skip

    return (moved(step) - moved(-step)) / (2 * step)


def score(module: Any, name: str, example: Any, site: str, method: str, alphas: Any) -> float:
    """Rise of the loss as the site goes from the clean run to the corrupted one, by the method's estimate."""
    clean, corrupted = seen(module, example.clean, site), seen(module, example.corrupted, site)
    apart = clean - corrupted
    if method == "nap":
        return slope(module, name, example, example.clean, site, apart, None)
    total = 0.0
    for alpha, weight in alphas:
        if method == "eap-ig-activations":
            at = corrupted + alpha * apart
            total += weight * slope(module, name, example, example.clean, site, apart, at)
        else:
            between = {
                key: corrupt + alpha * (value - corrupt)
                for (key, value), corrupt in zip(example.clean.items(), example.corrupted.values(), strict=True)
            }
            total += weight * slope(module, name, example, between, site, apart, None)
    return total
