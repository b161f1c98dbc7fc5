"""MLflow: store, runs, registry, what each stage logs, backfill and audit.

MLflow is written to and never read by a stage: all it holds can be logged again from the files of a
checkout.
"""
