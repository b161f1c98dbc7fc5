"""Train image classifiers side by side, track everything and compare them.

Packages are listed in order: each imports only from those before it. The first group determines the
bytes of outputs, so the stages of dvc.yaml depend on it; the second group logs, schedules, displays
or checks.
"""

DECIDES_BYTES = ("core", "config", "data", "models", "training", "evaluation", "reporting")
DECIDES_NO_BYTES = ("execution", "workflow", "tracking", "serving", "reproducibility")
