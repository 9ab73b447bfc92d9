"""The package's view of the golden models: which of them it has an adapter for, and each one loaded."""

from functools import cache
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from mi.core.adapters import ROLES
from mi.core.model import Model, wrap
from tests.golden.golden import FAMILIES
from tests.models import truly_double

# A model joins these tests on the day its family gets an adapter.
ADAPTED = tuple(name for name, family in FAMILIES.items() if any(family in roles.families for roles in ROLES))
EXECUTORS = ("fast", "generic")


@cache
def model_of(folder: Path, double: bool = False) -> Model:
    """In float32 as stored, or in float64 throughout."""
    module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return wrap(truly_double(module) if double else module)
