"""Repositories of the hub: names in, folders out; and files up. What goes wrong is one clear error.

Models have their own way (`mi.io.models`); this is for data sets, and for streams that people share. A folder may stand
for a repository.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from mi.errors import MiError, RunError, UsageError
from mi.io import atomic

_UP = "`hf auth login` says who you are; without a network, push to a folder"
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


def check_repo(repo: str) -> str:
    if not _REPO.fullmatch(repo):
        raise UsageError(f"{repo!r} is no repository of the hub", "a repository is OWNER/NAME")
    return repo


def is_folder(repo: str) -> bool:
    """Whether a repository is a folder here, or is written like one: what starts with a point or a slash."""
    return os.path.isdir(repo) or repo.startswith((".", "/", "~"))


def check_path(path: str) -> str:
    """A path inside a repository: relative, and nowhere else."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or path.endswith("/"):
        raise UsageError(f"{path!r} is no path in a repository", "it is relative, as ioi/circuit.jsonl")
    return path


def copy(folder: Path, files: Sequence[tuple[str, Path]]) -> None:
    """Put files into a folder that stands for a repository, in their order, each whole or not at all."""
    for path, file in files:
        target = folder / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise atomic.failure(target.parent, error) from error
        with atomic.file(target) as f, open(file, "rb") as source:
            shutil.copyfileobj(source, f)


def snapshot(
    repo: str,
    *,
    kind: str,
    revision: str | None = None,
    patterns: Sequence[str] | None = None,
    into: str | None = None,
    hint: str = "",
) -> Path:
    """The files of a repository: in the hub's cache, as links; or as files of their own in the folder `into`."""
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(repo, repo_type=kind, revision=revision, allow_patterns=patterns, local_dir=into)
        return Path(found)
    except Exception as error:
        _unreachable(f"the hub did not give {repo}", error, hint)


def upload(repo: str, files: Sequence[tuple[str, Path]], *, kind: str, message: str, private: bool) -> tuple[str, str]:
    """Put files, each at a path of the repository, in one commit. The commit, and where it is seen."""
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    try:
        api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        adds = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=str(file)) for path, file in files]
        done: Any = api.create_commit(repo, operations=adds, commit_message=message, repo_type=kind)
    except Exception as error:
        _unreachable(f"the hub did not take {repo}", error, _UP, wrote=True)
    return str(done.oid), str(done.commit_url)


def _unreachable(fact: str, error: Exception, hint: str, wrote: bool = False) -> NoReturn:
    text = str(error).strip()
    reason = text.splitlines()[0][:200] if text else type(error).__name__
    kind = RunError if wrote else MiError
    raise kind(f"{fact}: {reason}", hint) from None
