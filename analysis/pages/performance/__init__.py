"""docs/performance.md and its figures, from docs/results/performance.json."""
