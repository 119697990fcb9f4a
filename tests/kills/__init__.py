"""Commands that are killed: what was good stays good, nothing half-written takes its place, leftovers are swept.

Usage: `python -m tests.kills --moments 50` kills each command at so many random moments; without it, at every moment at
which it is about to touch a file where it writes. `--only NAME` takes one command, `--every N` each N-th such moment.
"""
