"""Rankers of documents in graded lists: made-up lists, trees, linear models, and the settings of each."""
