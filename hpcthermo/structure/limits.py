"""Bounds of what a builder makes."""

#: about 1 GiB of atom state on one host
MAXIMUM_ATOMS = 8_000_000
#: a part strained more than this is a mistake
MAXIMUM_STRAIN = 0.08
#: atoms of neighbouring layers are not closer in height than this, A
MINIMUM_CLEARANCE = 1.2
