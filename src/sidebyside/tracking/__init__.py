"""MLflow: store, runs, registry, logging of each stage, backfill and audit.

MLflow is written to and never read by a stage: everything in it can be logged again from the files
of a checkout.
"""
