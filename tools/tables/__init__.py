"""The generated tables of the documentation, one module per topic."""
