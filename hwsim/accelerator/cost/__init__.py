"""What layers cost on a machine: events, cycles and energy (docs/accelerator.md, sections 5 to 11)."""
