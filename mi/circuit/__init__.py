"""Circuits as tables of edges: names, graphs, selection, pruning, curves and their statistics. Numpy only."""
