"""Crystals, force constants and phonons."""
