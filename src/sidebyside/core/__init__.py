"""Foundations that know no machine learning.

Errors meant for users, files that are replaced atomically, named random seeds, and fast imports of
large packages.
"""
