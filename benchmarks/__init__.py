"""Speed and memory of the core, in units of the plainest thing that one can do with the model.

`python -m benchmarks` prints a table and writes the numbers as JSON. Every ratio is of two things measured in turn in
one process, so that a busy machine slows both; still, trust only the figures of an idle one.
"""
