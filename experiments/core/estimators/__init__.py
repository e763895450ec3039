"""fedlab core: estimators."""
