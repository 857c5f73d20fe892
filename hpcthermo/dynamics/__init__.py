"""Time integration: ensembles, minimisation, and exact continuation."""
