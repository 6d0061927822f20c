"""One file per chapter, by family."""
