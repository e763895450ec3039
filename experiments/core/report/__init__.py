"""fedlab core: report."""
