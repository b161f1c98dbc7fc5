"""Compare the published numbers and claims with the measured results, and render the page."""
