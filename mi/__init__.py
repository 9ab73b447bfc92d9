"""mi: composable command-line tools for mechanistic interpretability."""

__version__ = "0.1.0"
