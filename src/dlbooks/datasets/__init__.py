"""One file per data set: what it is, where it comes from, its synthetic twin, and how its raw files become examples."""

# Raise it when fetch or preprocess writes other bytes from the same input: all data stages depend on this file.
FORMAT = 3
