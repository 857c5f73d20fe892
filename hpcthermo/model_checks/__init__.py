"""Whether a potential has the properties of crystals that it should have."""
