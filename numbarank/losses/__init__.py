"""The losses: one small file each, with the formula of one pair and the public functions."""
