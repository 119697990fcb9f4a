"""A program computed again in plain Python integers, every intermediate held in a register of the target's own width.

`replay` walks a program's operations; `widths` says how wide each target's hardware is, and where that was read. Of
hwsim it imports the records of `hwsim.program` and `hwsim.formats` alone; `comparison` and the command run the machine
beside it. Where a program's constants exceed the hardware, the codes differ from the machine's:
`python -m tests.replay --target NAME` compares them on real text.
"""
