"""What a program costs: events, bytes and picojoules (docs/cost.md)."""
