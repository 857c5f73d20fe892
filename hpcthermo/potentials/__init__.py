"""Interatomic potentials: files, parameters, and their bound forms on a device."""
