"""Slow, plain implementations in float64, written from the definitions.

They share no code with the package under test and know Hugging Face models only through state dicts and configs; but
`families` has the models' own modules compute, under hooks.
"""
