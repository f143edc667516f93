"""One file per experiment; `base.py` is the manual of all fields."""
