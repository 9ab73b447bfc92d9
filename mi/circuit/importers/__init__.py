"""Readers of the circuits that other tools write: bytes in, a `ScoredGraph` out, nothing executed. A file a format."""
