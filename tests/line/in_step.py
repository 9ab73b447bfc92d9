"""A list of commands, run one after the other by all the processes of which this is one (`test_tensor_parallel`).

In: a JSON list of [port, words, breaks] as the only word. With ``breaks``, rank 1 fails in the middle of the work.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, NoReturn

from torch import distributed

from mi import run
from mi.core import batches
from mi.errors import RunError


def broken(*_: Any, **__: Any) -> NoReturn:
    raise RunError("the score of m0 is nan", "look at the weights")


def main(plan: str) -> int:
    for port, words, breaks in json.loads(plan):
        os.environ["MASTER_PORT"] = str(port)
        if breaks and os.environ["RANK"] == "1":
            batches.make_batch = broken
        if code := run.run(words[0], words[1:]):
            return code
        distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
