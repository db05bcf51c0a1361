"""The process of one contestant: imports its framework, loads the problem, trains in turn, and says how it went.

python -m recipes.commands.benchmark.contestant CASE CONTESTANT PROBLEM.npz EPOCHS THREADS
"""

import hashlib
import importlib
import os
import sys
import time
from pathlib import Path

import numpy as np

from recipes.commands.benchmark.cases import CASES, Problem
from recipes.commands.benchmark.contestants import CONTESTANTS
from recipes.commands.benchmark.turns import Epochs
from recipes.shared import runtime


def main(case: str, name: str, path: str, epochs: int, threads: int) -> None:
    """Run one contestant; each line of stdin is a turn, each line of stdout an answer."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints goes the way of its warnings
    turns = Epochs(epochs, sys.stdin, answers)
    contestant = next(each for each in CONTESTANTS if each.name == name)
    problem = Problem.load(CASES[case], Path(path))
    began = time.perf_counter()
    if contestant.needs == "keras":
        runtime.configure()
    elif contestant.needs == "torch":
        import torch

        torch.set_num_threads(threads)
    module, function = contestant.function.split(".")
    train = getattr(importlib.import_module(f"recipes.commands.benchmark.contestants.{module}"), function)
    turns.say(import_seconds=time.perf_counter() - began)
    outputs, weights = train(problem, turns)
    turns.say(
        score=None if outputs is None else problem.score(outputs),
        digest=hashlib.sha256(b"".join(np.ascontiguousarray(weight).tobytes() for weight in weights)).hexdigest(),
        peak_memory_mib=runtime.peak_memory_mib(),
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
