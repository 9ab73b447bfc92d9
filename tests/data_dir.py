"""Where the shared test data lies: name in, path out, or a skip that says what is missing.

The folder is `$MI_TEST_DATA`, else a folder called `shared` beside the checkout. Tests that need nothing from it
must not call `shared`.
"""

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


def data_root() -> Path:
    """The folder that should hold the test data, whether or not it exists."""
    chosen = os.environ.get("MI_TEST_DATA")
    return Path(chosen) if chosen else CHECKOUT.parent / "shared"


def shared(*parts: str) -> Path:
    """The path of one piece of test data; skips the calling test (or module) when it is not there."""
    path = data_root().joinpath(*parts)
    if not path.exists():
        name = "/".join(parts) or "the folder"
        pytest.skip(
            f"test data not found: {name} (set MI_TEST_DATA, or put a folder 'shared' beside the checkout)",
            allow_module_level=True,
        )
    return path
