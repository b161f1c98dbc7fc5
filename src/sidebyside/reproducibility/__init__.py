"""Record a run, run it again, compare every output, perturb the environment, vary the seed."""
