"""Adapting a model to its user's own captions: the towers stay, two linear maps after them are learned."""
