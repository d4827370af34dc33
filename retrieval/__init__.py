"""What it means: files become vectors, queries become ranked hits."""
