"""One verb a file: flags in, one call, a stream out. Torch is imported in function bodies only."""
