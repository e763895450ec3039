"""fedlab core: models."""
