"""mi: composable command-line tools for mechanistic interpretability."""
