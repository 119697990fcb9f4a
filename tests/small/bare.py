"""A manifest of a program that is no translator: what every manifest must say, and this one does not mean."""

from typing import Any

from hwsim.program import Manifest


def bare(**fields: Any) -> Manifest:
    """A manifest with these fields: dimensions, tensors, constants and functions at least; no tokenizer, no states."""
    unsaid = {"name": "bare", "scheme": "none", "tokenizer_sha256": "", "pad_id": 0, "bos_id": 1, "eos_id": 2}
    return Manifest(**(unsaid | {"max_positions": 1, "logit_scale": 1.0, "states": []} | fields))
