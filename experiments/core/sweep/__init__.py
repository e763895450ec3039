"""Spec -> cells -> stored rows: what is computed, where it lies, and how a run goes on after a kill."""
