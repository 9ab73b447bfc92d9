"""A folder as the hub lays out a data set: `train-00000-of-00001.parquet`, `validation.jsonl`, in it or in `data/`.

In: the folder. Out: its data files, each with the split that its name begins with. The split is all that a name tells:
formats are found by content.
"""

from __future__ import annotations

import re
from pathlib import Path

from mi.errors import MiError

ENDINGS = (".jsonl", ".json", ".csv", ".parquet")
SPLITS = {"train": "train", "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation"}
SPLITS["test"] = "test"
_NAME = re.compile(rf"({'|'.join(sorted(SPLITS, key=len, reverse=True))})(?![a-z])", re.IGNORECASE)


def data_files(folder: str) -> list[tuple[str, str]]:
    """(path, split) of every data file, train first."""
    found = _in(Path(folder)) or _in(Path(folder) / "data")
    if not found:
        choices = sorted(path.name for path in Path(folder).iterdir() if path.is_dir() and _in(path))
        hint = f"it holds several data sets: choose one of {', '.join(choices)}" if choices else _hint(folder)
        raise MiError("is a folder without files named train…, validation… or test…", hint, place=folder)
    order = ("train", "validation", "test")
    return sorted(found, key=lambda pair: (order.index(pair[1]), pair[0]))


def _in(folder: Path) -> list[tuple[str, str]]:
    files = folder.iterdir() if folder.is_dir() else ()
    pairs = ((file, _NAME.match(file.name)) for file in files if file.is_file() and file.suffix.lower() in ENDINGS)
    return [(str(file), SPLITS[match[1].lower()]) for file, match in pairs if match]


def _hint(folder: str) -> str:
    files = sorted(file.name for file in Path(folder).iterdir() if file.suffix.lower() in ENDINGS)
    return f"give one file: --from {Path(folder) / files[0]}" if files else "give a data file"
