"""Sweeps: many settings of one config, trained in as few programs as their shapes allow.

A setting is a `Training` and the seed of its run. What is shared with the experiments of
`kit/runner.py` is below both: claims, sealed files, estimates, tables, documents. The runner itself
is not: it measures a piece at a time in one process and reports once, where a job of a sweep
measures many settings in one program, several processes or computers write to one workdir, a
setting may fail or be stopped while the others go on, and each job is followed by a report.
"""
