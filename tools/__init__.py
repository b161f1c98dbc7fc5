"""Maintain the repository: generate tables and the checklist, take the tour's screenshots."""
