"""Records for eyes: notes, progress, tables."""
