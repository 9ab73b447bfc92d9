"""Readers of the example files that other tools write. `read` finds the format by content."""

from mi.tasks.readers.reading import FORMATS, Reading, read

__all__ = ["FORMATS", "Reading", "read"]
