"""Figures, tables and pages made from results; their prose is in Jinja templates."""
