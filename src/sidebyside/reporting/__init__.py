"""Figures, tables and pages made from results."""

import os

# Here, so that it precedes every import of matplotlib in this package. A process started from a
# notebook inherits the name of the notebook's backend, and importing matplotlib fails where that
# backend is not installed. Drawing to PNG needs none.
os.environ["MPLBACKEND"] = "agg"
