"""Streams and artifacts: what the commands read and write. Standard library, orjson and numpy; never torch."""
