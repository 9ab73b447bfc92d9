"""Lines of documentation, run as a shell would: each `mi` in this process, everything else by the real programs.

Knows what the documentation uses: pipes, `&&`, `||`, `<`, `>`, `>>`, line ends escaped by a backslash, comments, quotes
and globs. A line is what its last stage wrote; a stage that fails fails the line, as with `pipefail`.
"""

from __future__ import annotations

import glob
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.cli.conftest import Done, Session

REDIRECTIONS = ("<", ">", ">>")


def lines(block: str) -> Iterator[str]:
    """The commands of a block, continued lines joined, prompts and comments left out."""
    for line in block.replace("\\\n", " ").splitlines():
        text = line.strip().removeprefix("$ ")
        if text and not text.startswith("#"):
            yield text


def stages(line: str) -> list[list[str]]:
    """The stages of one pipeline as words; quotes are kept, as a glob in quotes is no glob."""
    words = _words(line)
    split: list[list[str]] = [[]]
    for word in words:
        if word == "|":
            split.append([])
        else:
            split[-1].append(word)
    return split


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=False, punctuation_chars="|&<>;")
    lexer.commenters = "#"
    lexer.wordchars += "$*?[]{}=,:@%!^"
    return list(lexer)


def run(session: Session, block: str) -> list[tuple[str, Done]]:
    """Run every line; what each left behind."""
    return [(line, _run_line(session, line)) for line in lines(block)]


def _run_line(session: Session, line: str) -> Done:
    done = Done(0, b"", "")
    before = ""
    for part, after in _chained(_words(line)):
        if before != "||" or done.code:
            if before == "&&" and done.code:
                break
            done = _pipeline(session, part, done)
        elif before == "||":
            break
        before = after
    return done


def _chained(words: list[str]) -> Iterator[tuple[list[str], str]]:
    part: list[str] = []
    for word in words:
        if word in ("&&", "||", ";"):
            yield part, word
            part = []
        else:
            part.append(word)
    if part:
        yield part, ""


def _pipeline(session: Session, words: list[str], before: Done) -> Done:
    data: bytes | None = None
    code, err = 0, before.err
    split: list[list[str]] = [[]]
    for word in words:
        split.append([]) if word == "|" else split[-1].append(word)
    for stage in split:
        done = _stage(session, stage, data)
        data, err = done.out, err + done.err
        code = code or done.code
    return Done(code, (before.out if before.code == 0 else b"") + (data or b""), err)


def _stage(session: Session, words: list[str], data: bytes | None) -> Done:
    plain: list[str] = []
    to: dict[str, Path] = {}
    rest = iter(words)
    for word in rest:
        if word in REDIRECTIONS:
            to[word] = Path(_unquote(next(rest)))
        else:
            plain += _expand(word)
    if "<" in to:
        data = None if str(to["<"]) == os.devnull else to["<"].read_bytes()
    done = session(*plain[1:], stdin=data) if plain[0] == "mi" else _program(plain, data)
    if ">" in to or ">>" in to:
        target = to.get(">") or to[">>"]
        with open(target, "ab" if ">>" in to else "wb") as f:
            f.write(done.out)
        done = Done(done.code, b"", done.err)
    return done


def _program(words: list[str], data: bytes | None) -> Done:
    done = subprocess.run(words, input=data or b"", capture_output=True, check=False, timeout=300)
    return Done(done.returncode, done.stdout, done.stderr.decode())


def _expand(word: str) -> list[str]:
    text = _unquote(word)
    found = sorted(glob.glob(text)) if text == word and any(mark in word for mark in "*?[") else []
    return found or [text]


def _unquote(word: str) -> str:
    return "".join(shlex.split(word)) if word else word
