"""Run a script as a resumable DVC stage: command line, progress, saved state, provenance."""
