"""One module per data set: source, license, checksums, twin, examples, schema."""
