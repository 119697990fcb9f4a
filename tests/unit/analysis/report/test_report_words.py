"""What a report prints of a run: tables for the terminal, records and files, of figures that were chosen by hand."""

import csv
import io
from dataclasses import replace

import pytest
from rich.table import Table
from rich.text import Text

from analysis.accuracy.sensitivity import Row
from analysis.output.numbers import count, duration, energy, fixed, si, signed, significant
from analysis.proof.equality import Equality
from analysis.report.console import sensitivity_table, summary_table
from analysis.report.records import (
    configuration_record,
    report_record,
    sensitivity_record,
    verdict,
)
from analysis.report.tables import sensitivity_csv, table_files
from tests.unit.analysis.estimates.estimates_by_hand import cells, heads
from tests.unit.analysis.report.reports_by_hand import CONTEXT, bleu, configuration, different, rows, run

TWO = configuration("int8"), configuration("own", "ita", factor=2)


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "want"),
    [
        (fixed(1.005, 1), "1.0"),
        (fixed(-0.5, 3), "−0.500"),
        (fixed(2.0), "2.00"),
        (signed(0.0), "+0.00"),
        (signed(-1.2345, 4), "−1.2345"),
        (signed(None), "–"),
        (significant(0.00012345), "0.000123"),
        (significant(-99.96), "−100"),
        (significant(None), "–"),
        (count(999.5), "1,000"),
        (count(0), "0"),
        (count(1_234_567), "1,234,567"),
        (count(None), "–"),
        (si(0.0, "B"), "0\N{NO-BREAK SPACE}B"),
        (si(999.4, "B"), "999\N{NO-BREAK SPACE}B"),
        (si(1023, "B"), "1.02\N{NO-BREAK SPACE}kB"),
        (si(9_996, "B"), "10.0\N{NO-BREAK SPACE}kB"),
        (si(-1500, "B"), "−1.50\N{NO-BREAK SPACE}kB"),
        (si(1e6, ""), "1.00\N{NO-BREAK SPACE}M"),
        (si(0.0000015, "s"), "1.50\N{NO-BREAK SPACE}µs"),
        (si(7, ""), "7"),
        (si(None, "B"), "–"),
        (energy(500), "500\N{NO-BREAK SPACE}pJ"),
        (energy(999.4), "999\N{NO-BREAK SPACE}pJ"),
        (energy(999.6), "1.00\N{NO-BREAK SPACE}nJ"),
        (energy(1_020), "1.02\N{NO-BREAK SPACE}nJ"),
        (energy(4.5e6), "4.50\N{NO-BREAK SPACE}µJ"),
        (energy(3.75e9), "3.75\N{NO-BREAK SPACE}mJ"),
        (energy(2e12), "2\N{NO-BREAK SPACE}J"),
        (energy(0.002), "0.00\N{NO-BREAK SPACE}pJ"),
        (duration(0.04), "0.0 s"),
        (duration(119.94), "119.9 s"),
        (duration(120), "2 min 0 s"),
        (duration(3_725.9), "62 min 5 s"),
    ],
)
def test_numbers(shown: str, want: str) -> None:
    assert shown == want


# --- terminal ---------------------------------------------------------------------------------------------------------


def test_summary() -> None:
    table = summary_table(run(*TWO, beam_width=3))
    assert table.title == "2 sentences, beam width 3"
    assert heads(table) == [
        "\nconfiguration", "codes\ncompared", "codes\ndifferent", "BLEU\n[95% interval]", "loss\nincrease",
        "weights\non disk", "DRAM per\nsentence", "energy per\nsentence",
    ]  # fmt: skip
    assert cells(table) == [
        ["float", "", "", "29.0 [27.5, 31.0]", "", "", "", ""],
        # 3,202,000 bytes and 7,500,002,040 pJ are of two sentences
        ["int8", "6,000", "0", "28.2 [26.0, 30.5]", "+0.0625", "1.23 MB", "1.60 MB", "3.75 mJ\n(7.50 mJ)"],
        ["own", "12,000", "0", "14.1 [13.0, 15.2]", "+0.1250", "2.47 MB", "1.60 MB", "3.75 mJ\n(7.50 mJ)"],
    ]
    assert str(table.caption) == (
        "int8: target fullyqt: every operator native\n"
        "own: target ita: mask, embedding and generator borrowed from fullyqt; residual borrowed from pulp; layernorm "
        "borrowed from deeploy\n"
        "DRAM and energy at the lengths of the references; in brackets: energy of its own translations\n"
        "priced as greedy decoding: 3 hypotheses cost more\n"
        "Every code equal to fake-quant: 18,000 codes compared, 0 different"
    )


def test_a_summary_without_references() -> None:
    alone = run(configuration("int8", scores=None))
    alone.references = alone.bleu_float = None
    table = summary_table(alone)
    assert not any("BLEU" in head for head in heads(table))
    assert cells(table) == [["int8", "6,000", "0", "+0.0625", "1.23 MB", "1.60 MB", "3.75 mJ\n(7.50 mJ)"]]
    assert str(table.caption).splitlines()[1:3] == [
        "DRAM and energy at the lengths of the float translations; in brackets: energy of its own translations",
        "no reference: no BLEU; losses are teacher-forced on the float model's own translations",
    ]


def styles(table: Table) -> list[str]:
    return [str(cell.style) for cell in list(table.columns[2].cells)[1:] if isinstance(cell, Text)]


def test_a_summary_of_overflows_that_differ() -> None:
    """No code and no token differs, and yet it is not equal: the reader is told why."""
    one = different(TWO[1])
    one.equality = Equality(overflows=1_205, overflows_fake_quant=1_204)
    one.equality.add("encoder.embedding", 12_000, 0)
    assert str(summary_table(run(TWO[0], one)).caption).splitlines()[3:] == [
        "NOT EQUAL to fake-quant: 18,000 codes compared, 0 different, 0 tokens different",
        "overflows of own: machine 1,205, fake-quant 1,204",
    ]


def test_a_summary_of_what_differs() -> None:
    table = summary_table(run(TWO[0], different(TWO[1])))
    assert [row[1:3] for row in cells(table)[1:]] == [["6,000", "0"], ["12,000", "3"]]
    assert styles(table) == ["green", "bold red"]
    assert str(table.caption).splitlines()[3:] == [
        "NOT EQUAL to fake-quant: 18,000 codes compared, 3 different, 2 tokens different",
        "first divergence of own: sentence 2, encode, site encoder.embedding, index (0, 3, 1): machine 17,"
        " fake-quant 18, 17.250000 before rounding, 0.250000 from a tie",
    ]


def test_like_targets_share_a_line() -> None:
    table = summary_table(run(TWO[0], configuration("int6")))
    assert str(table.caption).splitlines()[0] == "int8, int6: target fullyqt: every operator native"


def test_nothing_compared_is_not_equal() -> None:
    assert verdict(run()) == {
        "equal": False, "codes_compared": 0, "codes_different": 0, "tokens_different": 0, "overflows": 0
    }  # fmt: skip
    assert verdict(run(*TWO))["equal"]
    assert verdict(run(TWO[0], different(TWO[1]))) == {
        "equal": False, "codes_compared": 18_000, "codes_different": 3, "tokens_different": 2, "overflows": 5
    }  # fmt: skip


def test_sensitivity_on_the_terminal() -> None:
    table = sensitivity_table(rows()[:-1])
    assert table.title == "One part at fewer bits, the rest at 8; loss increase in nat/token, SQNR, dB"
    assert heads(table) == [
        "\ngroup", "loss\n8 bits", "loss\n6 bits", "loss\n4 bits", "SQNR\n8 bits", "SQNR\n6 bits", "SQNR\n4 bits"
    ]  # fmt: skip
    assert cells(table) == [
        ["feed_forward", "-0.0020", "+0.0100", "+0.3000", "48.0", "36.0", "24.0"],
        ["layernorm", "+0.0010", "", "+0.0200", "48.0", "", "24.0"],
    ]
    empty = "; an empty cell: its operators have no constants at that width, or it was not measured"
    assert str(table.caption) == f"target fullyqt{empty}"
    assert str(sensitivity_table([row for row in rows()[:-1] if row.bits != 6]).caption) == "target fullyqt"


def test_sensitivity_of_several_kinds_and_targets() -> None:
    ita = Row(kind="group", name="softmax", bits=4, loss_increase=0.5, sqnr_db=9.0, bleu=20.0, accelerator="ita")
    table = sensitivity_table([*rows(), ita])
    assert table.title == "One part at fewer bits, the rest at 8; loss increase in nat/token, BLEU"
    assert heads(table)[0] == "\ngroup or layer"
    assert heads(table)[4:] == ["BLEU\n8 bits", "BLEU\n6 bits", "BLEU\n4 bits"]
    assert [row[0] for row in cells(table)] == [
        "fullyqt feed_forward", "fullyqt layernorm", "ita softmax", "fullyqt encoder.0"
    ]  # fmt: skip
    assert cells(table)[0][4:] == ["-", "-", "-"]
    assert cells(table)[2] == ["ita softmax", "", "", "+0.5000", "", "", "20.0"]
    assert cells(table)[3] == ["fullyqt encoder.0", "", "", "+0.1500", "", "", "27.0"]
    assert str(table.caption).startswith("targets fullyqt, ita; an empty cell:")
    assert str(table.caption).count("empty cell") == 1


# --- records ----------------------------------------------------------------------------------------------------------


def test_a_configuration() -> None:
    record = configuration_record(run(*TWO), different(TWO[1]), "own (2)")
    nested = ("scheme", "cost", "zeros", "sites", "first_divergence")
    assert {name: value for name, value in record.items() if name not in nested} == {
        "name": "own (2)",
        "target": "ita",
        "borrowed": {
            "mask": "fullyqt",
            "embedding": "fullyqt",
            "generator": "fullyqt",
            "residual": "pulp",
            "layernorm": "deeploy",
        },
        "extended": [],
        "weight_bits": 8,
        "activation_bits": 8,
        "sentences": 2,
        "beam_width": 1,
        "teacher_forced_on": "reference",
        "priced_lengths": "reference",
        "bleu_float": 29.0,
        "bleu_fake_quant": 14.25,
        "bleu_integer": 14.125,
        "bleu_float_95_percent": [27.5, 31.0],
        "bleu_fake_quant_95_percent": [13.125, 15.375],
        "bleu_integer_95_percent": [13.0, 15.25],
        "bleu_integer_minus_float_95_percent": [-3.0, 0.5],
        "bleu_signature": "nrefs:1",
        "codes_compared": 12_000,
        "codes_different": 3,
        "tokens_different": 2,
        "overflows": 5,
        "loss_float": 2.5,
        "loss_quantized": 2.625,
        "loss_increase": 0.125,
        "loss_increase_95_percent": [0.0625, 0.25],
        "weight_bytes": 2_469_134,
        "batch": 2,
        "priced_decoding": "greedy",
        "cost_model": "hwsim-3",
        "accelerator": "edge-256",
        "energy_table": "horowitz-45",
        "boundary": "system",
        "energy_pj_per_sentence": 3_750_001_020.0,
        "energy_low_pj_per_sentence": 3_700_001_020.0,
        "energy_high_pj_per_sentence": 3_850_001_020.0,
        "prefill_energy_pj_per_sentence": 1020.0,
        "decode_energy_pj_per_sentence": 3_750_000_000.0,
        "prefill_cycles_per_sentence": 1017.0,
        "decode_cycles_per_sentence": 2_500_000.0,
        "energy_pj_per_target_token": 2_500_000_680.0,
        "cycles_per_sentence": 2_501_017.0,
        "seconds_per_sentence": 0.005002034,
        "target_tokens_per_sentence": 1.5,
        "own_length_target_tokens_per_sentence": 3.0,
        "own_length_cycles_per_sentence": 5_002_034.0,
        "own_length_seconds_per_sentence": 0.010004068,
        "own_length_dram_bytes_per_sentence": 3_202_000.0,
        "own_length_energy_pj_per_sentence": 7_500_002_040.0,
        "dram_bytes_per_sentence": 1_601_000.0,
        "dram_bytes_per_target_token": 3_202_000 / 3,
        "macs_per_sentence": 130_080.0,
        "macs_per_target_token": 86_720.0,
        "macs_zero_fraction": 0.25,
    }
    assert [phase["name"] for phase in record["cost"]] == ["prefill", "decode", "total"]
    assert record["first_divergence"] == {
        "site": "encoder.embedding", "call": "encode", "sentence": 2, "index": [0, 3, 1], "machine": 17,
        "reference": 18, "accumulator": 4321, "before_rounding": 17.25, "tie_distance": 0.25,
    }  # fmt: skip
    assert record["sites"] == [
        {"site": "encoder.embedding", "group": "embedding", "bits": 8, "codes_compared": 2000, "codes_different": 3,
         "sqnr_db": 20.0, "max_error": 0.5, "cosine": 0.99975},
        {"site": "encoder.0.self_attention.scores", "group": "attention", "bits": 16, "codes_compared": 4000,
         "codes_different": 0, "sqnr_db": 15.0, "max_error": 0.012345, "cosine": 0.98765},
        {"site": "encoder.0.self_attention.scores.shifted", "group": "attention", "bits": 20, "codes_compared": 6000,
         "codes_different": 0, "sqnr_db": None, "max_error": None, "cosine": None},
    ]  # fmt: skip


def test_half_of_an_interval_stands_below_its_increase() -> None:
    """0.004 + 0.001 is 0.005, and half of it 0.0025."""
    table = sensitivity_table([replace(rows()[2], interval=(-0.004, 0.001))])
    assert cells(table)[0][1] == "-0.0020\n+/-0.0025"
    assert str(table.caption).startswith("+/-: half of the 95% bootstrap interval over sentences")


def test_sensitivity_records_and_csv() -> None:
    given = [replace(rows()[2], interval=(-0.004, 0.001)), rows()[-1]]
    assert [sensitivity_record(row) for row in given] == [
        {"kind": "group", "group": "feed_forward", "target": "fullyqt", "bits": 8, "loss_increase": -0.002,
         "loss_increase_95_percent": [-0.004, 0.001], "sqnr_db": 48.0, "bleu": None},
        {"kind": "layer", "layer": "encoder.0", "target": "fullyqt", "bits": 4, "loss_increase": 0.15,
         "loss_increase_95_percent": None, "sqnr_db": 20.0, "bleu": 27.04},
    ]  # fmt: skip
    assert sensitivity_csv(given) == (
        "target,kind,name,bits,loss_increase_nat_per_token,loss_increase_nat_per_token_95_percent_low,"
        "loss_increase_nat_per_token_95_percent_high,sqnr_db,bleu\n"
        "fullyqt,group,feed_forward,8,-0.002,-0.004,0.001,48.0,\n"
        "fullyqt,layer,encoder.0,4,0.15,,,20.0,27.04\n"
    )


def test_tables_as_files() -> None:
    result = run(*TWO)
    files = table_files(result, rows(), report_record(result, rows(), CONTEXT))
    first, second = csv.DictReader(io.StringIO(files["configurations.csv"]))
    assert (first["name"], second["name"]) == ("int8", "own")
    assert (second["bleu_integer_95_percent_low"], second["bleu_integer_95_percent_high"]) == ("13.0", "15.25")
    assert (
        second["borrowed"] == "mask from fullyqt; embedding from fullyqt; generator from fullyqt; residual from pulp; "
        "layernorm from deeploy"
    )
    assert {"scheme", "cost", "zeros", "sites", "first_divergence"}.isdisjoint(first)
    assert files["sites.csv"].splitlines()[4] == "own,encoder.embedding,embedding,8,2000,0,20.0,0.5,0.99975"
    layers = list(csv.DictReader(io.StringIO(files["layers.csv"])))
    assert [row["configuration"] for row in layers] == ["int8"] * 4 + ["own"] * 4
    assert [row["energy_pj"] for row in layers[:4]] == ["500.0", "1500.0", "40.0", "7500000000.0"]
    assert files["translations.tsv"].splitlines() == [
        "source\treference\tfloat\tint8\town",
        "good\tgut!\tgut\tgut\tgut",
        "this one\tdies\tfloat made it\tint8 made it\town made it",
    ]


def test_an_interval_that_is_not_finite_is_a_dash() -> None:
    odd = configuration("int8")
    odd.scores = replace(odd.scores, integer=bleu(float("nan"), 1.0, float("inf")))
    assert cells(summary_table(run(odd)))[1][3] == "- [1.0, -]"
