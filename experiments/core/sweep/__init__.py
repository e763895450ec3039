"""fedlab core: sweep."""
