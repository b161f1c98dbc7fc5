"""Run DVC stages concurrently."""
