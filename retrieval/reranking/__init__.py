"""The fusion alone, for those who hold their own candidates."""
