"""Record a run, rerun it and compare every output, perturb the environment, vary the seed."""
