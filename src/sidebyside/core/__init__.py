"""Foundations independent of machine learning.

Errors shown to users, atomic file writes, strict file reads, derived seeds, a stopwatch, and fast
imports of large packages.
"""
