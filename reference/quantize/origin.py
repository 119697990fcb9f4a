"""What a program was lowered from: enough to make its fake-quant model again, from the same checkpoint."""

from pathlib import Path

import msgspec

from hwsim.reading import sha256
from reference.models.translation import Transformer
from reference.quantize.calibrate import Range
from reference.quantize.plan import Plan, make_plan
from reference.quantize.scheme import Scheme


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Scheme, calibrated ranges, and the SHA-256 of the checkpoint's weights."""

    scheme: Scheme
    ranges: dict[str, Range]
    checkpoint_sha256: str

    def plan(self, model: Transformer) -> Plan:
        """The quantization plan, every constant as it was."""
        return make_plan(model, self.scheme, self.ranges)

    def text(self) -> str:
        """For `Manifest.origin`."""
        return msgspec.json.encode(self).decode()


def read_origin(text: str, checkpoint: Path) -> Origin:
    """Decode `Manifest.origin`, and check that the checkpoint is the one.

    Raises
    ------
    ValueError
        If the program has no origin, or another checkpoint.
    """
    try:
        origin = msgspec.json.decode(text, type=Origin)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"the program does not say what it was lowered from ({error})") from error
    found = checkpoint_hash(checkpoint)
    if found != origin.checkpoint_sha256:
        raise ValueError(
            f"the program was lowered from another checkpoint than {checkpoint} "
            f"(SHA-256 {origin.checkpoint_sha256[:12]}..., here {found[:12]}...)"
        )
    return origin


def checkpoint_hash(folder: Path) -> str:
    """SHA-256 of a model folder's weights."""
    return sha256(folder / "model.safetensors", "weights")
