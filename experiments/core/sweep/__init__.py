"""Spec -> cells -> stored rows: what is computed, where it lies, and how a run resumes after a kill."""
