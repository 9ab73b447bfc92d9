"""Any torch module by its sites: no adapter and no graph, every run an nnsight trace."""
