"""Learned fusion: the signals of the candidates, and the heads that make one score of them."""
