"""From ranges to integers: every scale snapped to what the target's hardware encodes, every constant settled."""
