"""Searches for circuits: ACDC, masks that are learned, constants that are learned."""
