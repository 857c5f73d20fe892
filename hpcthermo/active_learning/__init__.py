"""Training, exploring, labelling what is new, and training again."""
