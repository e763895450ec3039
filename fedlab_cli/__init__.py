"""Arguments in, screen out. The only place that prints."""
