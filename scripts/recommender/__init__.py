"""The parts of the film recommender: ratings, measures, the model, pairs to train on, and what to compare with."""
