"""Options of `hwsim estimate` that would change nothing: one table of what they say nothing about, and why."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

from hwsim.accelerator.energy_tables import energy_table
from hwsim.accelerator.events import Operand
from hwsim.accelerator.hardware import ArrayKind, Boundary, Dataflow, Hardware
from hwsim.accelerator.layers import Part, Product, Workload
from hwsim.accelerator.prices import prices_of
from hwsim.accelerator.workloads import WORKLOADS

INPUTS = {"program": "PROGRAM", "workload": "--workload", "model_file": "--model-file", "gemm": "--gemm"}
"""What is priced, by field and as it is typed."""


class Asked(Protocol):
    """What is read here of a request."""

    @property
    def workload(self) -> str | None: ...
    @property
    def boundary(self) -> str | None: ...
    @property
    def untiled(self) -> bool: ...


class Known(NamedTuple):
    """A request whose files have been read."""

    asked: Asked
    workload: Workload
    hardware: Hardware

    @property
    def products(self) -> list[Product]:
        layers = (layer for phase in self.workload.phases for layer in phase.layers)
        return [layer.product for layer in layers if layer.product is not None]


class Idle(NamedTuple):
    """Options that say nothing about `inputs` where something holds of what is priced."""

    options: tuple[str, ...]
    inputs: tuple[str, ...]
    why: str
    holds: Callable[[Known], bool] = lambda known: True


_OWN_SIZES = "its products have their sizes"
_LENGTHS = ("source_length", "target_length")
BY_INPUT = (
    Idle(("config",), ("program",), "it has its widths"),
    Idle(("batch", "context", "beam"), ("program",), "its sentences are translated one by one, greedily"),
    Idle(("config", "batch", *_LENGTHS, "context", "beam"), ("model_file",), "the file says it"),
    Idle(("batch", *_LENGTHS, "context", "beam"), ("gemm",), _OWN_SIZES),
    Idle(("attention",), ("gemm",), "products by themselves are no attention"),
    Idle(("zero_gating",), ("workload", "model_file", "gemm"), "zeros are counted in the codes of a PROGRAM"),
)
"""Known before a file is read."""
DECODING = ("target_length", "context", "beam")
TILED = ("tiles", "bandwidth", "objective")
"""Options without a meaning where there is no scratchpad."""


def _attends(known: Known) -> bool:
    return any(layer.part is not Part.NONE for phase in known.workload.phases for layer in phase.layers)


def _prices(known: Known, boundary: Boundary) -> bool:
    """Whether the energy table has the level that a boundary adds to the next smaller one."""
    prices = prices_of(known.hardware)
    near, far = prices.sram_read_word_aj, prices.dram_byte_aj
    return {Boundary.CORE: True, Boundary.CHIP: near is not None, Boundary.SYSTEM: far is not None}[boundary]


def _prices_macs(hardware: Hardware) -> bool:
    table = energy_table(hardware.energy_table)
    return any((table.mac_16, table.multiply_8, table.add_8))


_OF_PRODUCTS = ("array", "dataflow", "fold", "tiles", "objective", "psum_bits", "sparsity")
ANY = tuple(INPUTS)
BY_CONTENT = (
    Idle(_OF_PRODUCTS, ANY, "none of its layers is a product", lambda known: not known.products),
    Idle(("attention",), ANY, "none of its layers is part of an attention", lambda known: not _attends(known)),
    Idle(
        ("sparsity",), ANY, "none of its products has weights",
        lambda known: all(product.b is not Operand.WEIGHT for product in known.products),
    ),
    Idle(
        ("fold",), ANY, "an array of dot products has nothing to fill and to drain",
        lambda known: known.hardware.array.kind is ArrayKind.DOT_PRODUCT,
    ),
    Idle(
        ("psum_bits",), ANY, "without a scratchpad, an array of dataflow os stores no partial sums",
        lambda known: known.asked.untiled and known.hardware.array.dataflow is Dataflow.OS,
    ),
    Idle(
        ("boundary",), ANY, "the energy table has no constant for what it adds",
        lambda known: not _prices(known, Boundary(known.asked.boundary)),
    ),
    Idle(
        ("zero_gating",), ANY, "the energy table has no constant for a MAC",
        lambda known: not _prices_macs(known.hardware),
    ),
)  # fmt: skip
"""Known when workload and machine are."""


def flag(name: str) -> str:
    """An option as it is typed."""
    return "--" + name.replace("_", "-")


def one_input(asked: Asked) -> str:
    """The field of what is priced.

    Raises
    ------
    ValueError
        If there is none, or more than one.
    """
    found = [name for name in INPUTS if getattr(asked, name) is not None]
    if len(found) != 1:
        given = " and ".join(INPUTS[name] for name in found) or "none"
        raise ValueError(f"give just one of {', '.join(INPUTS.values())}; got {given}")
    return found[0]


def check_input(asked: Asked) -> None:
    """Refuse options that say nothing about the kind of input, before a file is read.

    Raises
    ------
    ValueError
        Names the option, the input and the reason.
    """
    kind = one_input(asked)
    _refuse(asked, (idle for idle in BY_INPUT if kind in idle.inputs), INPUTS[kind])
    model = WORKLOADS.get(asked.workload or "")
    if model is not None and "target_length" not in model.DEFAULTS:
        _refuse(asked, [Idle(DECODING, ANY, "it decodes nothing")], f"--workload {asked.workload}")
    if asked.untiled:
        refuse_untiled({name: getattr(asked, name) for name in TILED})


def check_content(asked: Asked, workload: Workload, hardware: Hardware) -> None:
    """Refuse options that say nothing about this workload on this machine.

    Raises
    ------
    ValueError
        As `check_input`.
    """
    known = Known(asked, workload, hardware)
    given = (idle for idle in BY_CONTENT if any(_given(asked, name) for name in idle.options))
    _refuse(asked, (idle for idle in given if idle.holds(known)), f"{workload.name} on {hardware.name}")


def refuse_untiled(given: Mapping[str, object]) -> None:
    """Refuse options of a scratchpad where there is none."""
    for name, value in given.items():
        if value is not None:
            raise ValueError(f"{flag(name)} needs a scratchpad: give --sram-kib, or an accelerator with --accelerator")


def _given(asked: object, name: str) -> bool:
    return getattr(asked, name, None) not in (None, ())


def _refuse(asked: object, idle: Iterable[Idle], what: str) -> None:
    for case in idle:
        for name in case.options:
            if _given(asked, name):
                raise ValueError(f"{flag(name)} says nothing about {what}: {case.why}; leave it out")
