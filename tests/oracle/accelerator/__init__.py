"""Oracle of docs/accelerator.md: loops that are walked and operations that are ticked off, in plain integers.

Written from the page alone and importing nothing but the standard library, so that agreement means something.
"""
