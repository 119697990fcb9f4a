"""The commands of `hwsim`, one a file. Each imports what it needs when it runs: `--help` and `show` are quick."""
