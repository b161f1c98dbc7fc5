"""Run jobs in local processes, and DVC stages concurrently.

How many run at once, and where, does not change any byte of an output.
"""
