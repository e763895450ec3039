"""fedlab core: scores."""
