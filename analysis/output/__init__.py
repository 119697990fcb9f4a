"""How results are written: numbers as text, tables that fit a terminal, folders, and where a result comes from."""
