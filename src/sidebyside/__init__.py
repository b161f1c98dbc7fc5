"""Train image classifiers side by side, track everything and compare them.

The packages, from the ground up: a package imports only from those before it. The first group
decides the bytes of an output and is what the stages of dvc.yaml depend on; the second logs,
schedules, shows or checks.
"""

DECIDES_BYTES = ("core", "config", "data", "models", "training", "evaluation", "reporting")
DECIDES_NO_BYTES = ("execution", "workflow", "tracking", "serving", "reproducibility")
