"""Language and speech: sequences of characters, words, frames."""
