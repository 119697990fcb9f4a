"""Workloads from shapes alone (docs/accelerator.md, section 1): named models, GEMM tables, a user's own file.

Products are counted with 2 operations a MAC in the literature; here a MAC is one.
"""

from collections.abc import Mapping
from types import MappingProxyType

from hwsim.accelerator.layers import Workload
from hwsim.accelerator.reading import nearest
from hwsim.accelerator.workloads import bert, encoder_decoder, gpt2
from hwsim.accelerator.workloads.custom import read_workload
from hwsim.accelerator.workloads.gemm_csv import read_gemm_csv
from hwsim.accelerator.workloads.sizes import SCHEMES, Model, Widths, build

__all__ = ["SCHEMES", "WORKLOADS", "Widths", "read_gemm_csv", "read_workload", "workload"]

WORKLOADS: Mapping[str, Model] = MappingProxyType(
    {
        "transformer-base": encoder_decoder.BASE,
        "transformer-big": encoder_decoder.BIG,
        "tiny11": encoder_decoder.TINY11,
        "bert-base": bert.BASE,
        "bert-large": bert.LARGE,
        "mobilebert": bert.MOBILE,
        "gpt2-small": gpt2.SMALL,
    }
)


def workload(
    name: str,
    scheme: str | Widths = "int8",
    *,
    batch: int | None = None,
    source_length: int | None = None,
    target_length: int | None = None,
    context: int | None = None,
    beam: int | None = None,
) -> Workload:
    """A model of `WORKLOADS`.

    Parameters
    ----------
    name
        The model.
    scheme
        A name of `SCHEMES`, or widths.
    batch, source_length, target_length, context, beam
        Sizes (`sizes.Sizes`); the model's `DEFAULTS` where they are not given.

    Raises
    ------
    ValueError
        If the model or the scheme is unknown, or a size is not the model's or outside its limits.
    """
    if name not in WORKLOADS:
        raise ValueError(f"unknown workload {name!r}; {nearest(name, WORKLOADS)}")
    given = {
        "batch": batch,
        "source_length": source_length,
        "target_length": target_length,
        "context": context,
        "beam": beam,
    }
    return build(name, WORKLOADS[name], scheme, given)
