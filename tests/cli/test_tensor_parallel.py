"""`--tensor-parallel` where there is one process only."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Session


@pytest.mark.parametrize("command", ["cache", "attribute", "score", "patch", "search"])
def test_one_process_cannot_share_a_model(mi: Session, command: str) -> None:
    done = mi(command, "--tensor-parallel", "none.jsonl")
    assert (done.code, done.out) == (2, b"")
    assert done.err == (
        f"mi {command}: --tensor-parallel cuts the model up among processes, and there is one\n"
        f"  start them with: torchrun --nproc-per-node 2 -m mi {command} --tensor-parallel\n"
    )


def test_nor_can_a_stage_of_a_pipe(mi: Session) -> None:
    done = mi("pipe", "cache -n 2 ! attribute --tensor-parallel ! prune")
    assert done.code == 2
    assert "--tensor-parallel cuts the model up among processes, and there is one" in done.err
