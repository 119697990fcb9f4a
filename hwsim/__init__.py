"""The golden model: integers only. Public names are listed in the README."""
