"""Which models have sites only. No torch: a command asks before it loads anything."""

from __future__ import annotations

from mi.errors import MiError
from mi.io.models import Located

LANGUAGE_MODELS = ("CausalLM", "LMHeadModel")  # how the classes are called whose graph an adapter may know
BARE = ("Model", "ForConditionalGeneration")  # those of a family that may have one


def sites_only(located: Located, adapter: object = None) -> bool:
    """Whether the model is no decoder language model, by the class that its config names: it has no graph of edges.
    One that somebody gives an adapter for has.
    """
    if adapter is not None:
        return False
    if located.code is not None:
        return True
    config = located.config()
    names = [str(name) for name in config.get("architectures") or ()]
    if not names or any(name.endswith(LANGUAGE_MODELS) for name in names):
        return False
    if any(name.endswith(BARE) for name in names):
        from mi.core.families import ROLES

        families = {family for roles in ROLES for family in roles.families}
        return str(config.get("model_type")) not in families
    return True


def unknown(located: Located, adapter: object = None) -> bool:
    """Whether no record of roles is known for a language model's configuration: it runs, but has no graph yet."""
    from mi.core.families import ROLES

    config = located.config()
    own = [roles for roles in ROLES if str(config.get("model_type")) in roles.families]
    # What a config leaves out, or leaves open, the library fills in when the model is made.
    fits = any(all(config.get(name) in (None, value) for name, value in roles.when) for roles in own)
    return adapter is None and not fits


def need_graph(located: Located, adapter: object = None) -> None:
    """Refuse a model without a graph of edges where edges are what a command is about."""
    if sites_only(located, adapter):
        raise MiError(
            f"{described(located)}, which has no graph of edges",
            "its sites can be cached, patched and attributed: mi attribute --level site (docs/modules.md)",
            place="-m",
        )


def need_text(located: Located) -> None:
    """Refuse a model whose class says that it is made for something else than to continue a text."""
    names = [str(name) for name in located.config().get("architectures") or ()]
    if located.code is not None or (names and not any(name.endswith((*LANGUAGE_MODELS, *BARE)) for name in names)):
        need_graph(located)


def described(located: Located) -> str:
    """What the model is, for messages."""
    names = located.config().get("architectures") or [located.function if located.code is not None else "module"]
    return f"{located.id} is a {names[0]}"
