"""Building blocks that two or more chapters share: pure, tested, cited."""
