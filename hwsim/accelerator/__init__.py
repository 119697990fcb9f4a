"""What a workload costs on a machine: tiles, cycles, memory traffic, energy (docs/accelerator.md)."""
