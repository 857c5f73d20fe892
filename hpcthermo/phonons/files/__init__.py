"""Files of force constants and of what belongs to them; one module per format, docs/force_constant_files.md."""
