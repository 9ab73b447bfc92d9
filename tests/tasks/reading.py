"""Helpers of the readers' tests: write a file, read it, or catch the one error that it should give."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mi.errors import MiError
from mi.tasks.readers import read


def lines(path: Path, rows: Iterable[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def text(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def refused(path: str | list[str], **options: Any) -> MiError:
    with pytest.raises(MiError) as caught:
        read(path, **options)
    return caught.value


def pairs(path: str | list[str], **options: Any) -> list[tuple[Any, Any, Any, Any]]:
    """Clean, corrupted, answers and foils of every record."""
    return [(r["clean"], r["corrupted"], r["answers"], r["foils"]) for r in read(path, **options).records]
