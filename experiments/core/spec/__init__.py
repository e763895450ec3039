"""Specs: reading YAML files, checking them, and the fields that papers share."""
