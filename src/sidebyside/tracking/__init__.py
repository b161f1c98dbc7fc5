"""MLflow: store, runs, registry, logging of each stage, backfill and audit.

Stages write to MLflow and never read from it: everything in it can be logged again from the files
of a checkout.
"""
