"""Run jobs in this process, in local processes or on a Ray cluster, and DVC stages concurrently.

How many run at once, and where, does not change any byte of an output.
"""
