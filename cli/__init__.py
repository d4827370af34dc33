"""How a person meets it: the command `mmsearch`."""
