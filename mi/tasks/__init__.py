"""Where examples come from: generators of minimal pairs, readers of other tools' files, tokenizers. No torch."""
