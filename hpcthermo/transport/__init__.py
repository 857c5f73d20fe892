"""Experiments of heat transport: groups, observers, drivers, and the analysis of their results."""
