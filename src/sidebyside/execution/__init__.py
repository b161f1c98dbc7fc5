"""Where work runs: DVC stages side by side."""
