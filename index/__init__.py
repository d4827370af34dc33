"""What is stored: the catalogue in SQLite, the vectors, and the indexes derived from them."""
