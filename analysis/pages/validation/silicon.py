"""Energies of published chips: one factor a node is fitted, the rest is held out or informational."""

from msgspec.structs import replace

from analysis.pages.validation.points import Fit, Point, Role, array_pj_per_mac, pj_per_mac, within
from hwsim.accelerator.cost.estimate import Estimate, estimate
from hwsim.accelerator.hardware import Boundary, Hardware
from hwsim.accelerator.layers import Workload
from hwsim.accelerator.presets import hardware
from hwsim.accelerator.prices import AJ_PER_MJ
from hwsim.accelerator.workloads import Widths, workload
from hwsim.accelerator.workloads.custom import CustomLayer, CustomWorkload, Kind

ISLPED = "G. Islamoglu et al., ITA, ISLPED 2023 (arXiv 2307.03493)"
TINYML = "P. Wiese et al., Toward attention-based TinyML, IEEE Design & Test 42 (2025) (arXiv 2408.02473)"
VLSI = "B. Keller et al., VLSI Circuits 2022; JSSC 58 (2023)"

ITA_TOPS_PER_W = 16.9
INT8_TOPS_PER_W, INT4_TOPS_PER_W = 39.1, 91.1
BERT_TOPS_PER_W, BERT_PER_JOULE, BERT_VOLTAGE = 38.7, 1734, 0.67
CLUSTER_GOP_PER_J, CLUSTER_PER_SECOND, CLUSTER_MW, CLUSTER_VOLTAGE = 2960, 32.5, 52.0, 0.65

ROUNDING = 0.005
"""Of a factor of three digits: all that may be between a fitted figure and the published one."""
MAC_SHARE_LIMIT = 0.85
"""Multipliers and adders of a chip cannot be all of it."""
DENSE = (128, 768, 768)
"""m, k, n of the product that factors are fitted on: a projection of BERT-Base at S = 128. It fills both arrays."""
_DENSE = "one product (128, 768) by (768, 768), which fills the array: a projection of BERT-Base, S = 128"


def dense(record: Hardware, bits: int, accumulator_bits: int | None = None) -> Estimate:
    """The dense product of codes of this width, alone: no bias, no epilogue."""
    m, k, n = DENSE
    layer = CustomLayer(name="projection", kind=Kind.GEMM, m=m, k=k, n=n)
    sized = CustomWorkload(name="dense", widths=_widths(record, bits, accumulator_bits), layer=(layer,))
    return estimate(sized.workload(), record)


def model(name: str, record: Hardware, bits: int) -> Estimate:
    """A model at S = 128, one input, its accumulators those of the array."""
    return estimate(_sized(name, record, bits), record)


def _sized(name: str, record: Hardware, bits: int) -> Workload:
    return workload(name, _widths(record, bits), source_length=128)


def _widths(record: Hardware, bits: int, accumulator_bits: int | None = None) -> Widths:
    return Widths(weight=bits, activation=bits, accumulator=accumulator_bits or record.array.accumulator_bits)


def _of_a_mac(tops_per_w: float) -> float:
    """Picojoules: two operations a MAC."""
    return 2 / tops_per_w


def fits() -> tuple[Fit, ...]:
    """Each node's factor, from events of the dense product at 8 bits."""
    return _fit("ita", 22, ITA_TOPS_PER_W), _fit("keller-5nm", 5, INT8_TOPS_PER_W)


def _fit(preset: str, node_nm: int, tops_per_w: float) -> Fit:
    record = hardware(preset)
    plain = dense(replace(record, overhead=1.0), 8)
    return Fit(
        node_nm=node_nm,
        preset=preset,
        published_pj=_of_a_mac(tops_per_w),
        plain_pj=pj_per_mac(plain),
        mac_pj=array_pj_per_mac(plain),
        preset_factor=record.overhead,
    )


def points() -> tuple[Point, ...]:
    """ITA, the 5 nm accelerator, and ITA in its cluster."""
    return (_ita(), *_keller_mac(), *_keller_bert(), *_mobilebert())


def _ita() -> Point:
    record = hardware("ita")
    return Point(
        name="ITA, a MAC",
        published=_of_a_mac(ITA_TOPS_PER_W),
        unit="pJ",
        computed=pj_per_mac(dense(record, 8)),
        band=within(ROUNDING),
        role=Role.FITTED,
        precision="INT8, 26-bit accumulators",
        voltage=record.voltage,
        boundary=record.boundary.value,
        included="the core, without memories",
        workload=_DENSE,
        source=f"{ISLPED}: {ITA_TOPS_PER_W} TOPS/W",
    )


def _keller_mac() -> tuple[Point, ...]:
    record = hardware("keller-5nm")
    eight = Point(
        name="Keller INT8, a MAC",
        published=_of_a_mac(INT8_TOPS_PER_W),
        unit="pJ",
        computed=pj_per_mac(dense(record, 8)),
        band=within(ROUNDING),
        role=Role.FITTED,
        precision="INT8, 24-bit accumulators",
        voltage=record.voltage,
        boundary=record.boundary.value,
        included="the accelerator with its buffers; 0.46 V by inference from the 4-bit peak",
        workload=_DENSE,
        source=f"{VLSI}: {INT8_TOPS_PER_W} TOPS/W",
    )
    chip = replace(record, boundary=Boundary.CHIP)
    return (
        eight,
        replace(
            eight,
            name="Keller INT8, a MAC with the scratchpad",
            computed=pj_per_mac(dense(chip, 8)),
            band=None,
            role=Role.INFORMATIONAL,
            boundary=chip.boundary.value,
        ),
        _ratio(eight, "Keller INT4 / INT8", None),
        *(_ratio(eight, f"Keller INT4 / INT8, {bits}-bit accumulators", bits) for bits in (16, 32)),
    )


def _ratio(eight: Point, name: str, accumulator_bits: int | None) -> Point:
    """Energies of a MAC at both widths; with accumulators that nobody published it is no gate."""
    record = hardware("keller-5nm")
    four, full = (pj_per_mac(dense(record, bits, accumulator_bits)) for bits in (4, 8))
    gated = accumulator_bits is None
    return replace(
        eight,
        name=name,
        published=INT8_TOPS_PER_W / INT4_TOPS_PER_W,
        unit="ratio",
        computed=four / full,
        band=within(0.2) if gated else None,
        role=Role.HELD_OUT if gated else Role.INFORMATIONAL,
        precision=f"INT4 and INT8, {accumulator_bits or record.array.accumulator_bits}-bit accumulators",
        source=f"{VLSI}: {INT8_TOPS_PER_W} and {INT4_TOPS_PER_W} TOPS/W",
    )


def _keller_bert() -> tuple[Point, Point]:
    record = replace(hardware("keller-5nm"), voltage=BERT_VOLTAGE)
    cost = model("bert-base", record, 4).total.cost
    energy = Point(
        name="Keller INT4, BERT-Base, an inference",
        published=1e3 / BERT_PER_JOULE,
        unit="mJ",
        computed=cost.energy_aj / AJ_PER_MJ,
        band=within(0.5),
        role=Role.HELD_OUT,
        precision="INT4, 24-bit accumulators, 16-bit residual sums",
        voltage=record.voltage,
        boundary=record.boundary.value,
        included="the accelerator with its buffers",
        workload="bert-base, S = 128, one input",
        source=f"{VLSI}: {BERT_PER_JOULE} inferences/s/W",
    )
    operations = replace(
        energy,
        name="BERT-Base, operations",
        published=BERT_TOPS_PER_W / BERT_PER_JOULE * 1e3,
        unit="GOP",
        computed=2 * cost.macs / 1e9,
        band=None,
        role=Role.INFORMATIONAL,
        voltage=None,
        boundary="MACs, two operations each",
        included="as its two efficiencies imply",
        source=f"{VLSI}: {BERT_TOPS_PER_W} TOPS/W over {BERT_PER_JOULE} inferences/s/W",
    )
    return energy, operations


def _mobilebert() -> tuple[Point, ...]:
    record = replace(hardware("ita"), voltage=CLUSTER_VOLTAGE, boundary=Boundary.SYSTEM)
    cost = model("mobilebert", record, 8).total.cost
    system = Point(
        name="ITA in a cluster, MobileBERT, an inference",
        published=CLUSTER_MW / CLUSTER_PER_SECOND,
        unit="mJ",
        computed=cost.energy_aj / AJ_PER_MJ,
        role=Role.INFORMATIONAL,
        precision="INT8, 26-bit accumulators, 16-bit residual sums",
        voltage=record.voltage,
        boundary=record.boundary.value,
        included="the accelerator, eight cores and the cluster around them",
        workload="mobilebert, standard shapes, S = 128, one input",
        source=f"{TINYML}: {CLUSTER_MW} mW at {CLUSTER_PER_SECOND} inferences/s",
    )
    return (
        system,
        replace(
            system,
            name="the same without DRAM",
            computed=(cost.energy_aj - cost.by_level["dram"]) / AJ_PER_MJ,
            boundary=Boundary.CHIP.value,
        ),
        replace(
            system,
            name="MobileBERT, operations",
            published=CLUSTER_GOP_PER_J * CLUSTER_MW * 1e-3 / CLUSTER_PER_SECOND,
            unit="GOP",
            computed=2 * cost.macs / 1e9,
            voltage=None,
            boundary="MACs, two operations each",
            included="as efficiency, power and rate imply",
            source=f"{TINYML}: {CLUSTER_GOP_PER_J} GOp/J, {CLUSTER_MW} mW, {CLUSTER_PER_SECOND} inferences/s",
        ),
    )
