"""Towers that map texts and images to unit vectors of one space."""
