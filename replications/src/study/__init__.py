"""The five published systems, rebuilt: plan, model runs, results, hypothesis tests, page."""
