"""fedlab core: spec."""
