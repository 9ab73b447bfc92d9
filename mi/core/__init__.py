"""Everything that touches torch: models, adapters, executors, attribution and circuit runs."""
