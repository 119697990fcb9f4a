"""What cannot be planned or calibrated is refused by the site's name."""

import pytest
import torch

from hwsim.program.targets import TARGETS
from reference.quantize.calibrate import calibrate
from reference.quantize.plan import make_plan
from reference.quantize.scheme import preset
from tests.small.models import small_model
from tests.small.programs import planned, seen_by
from tests.unit.reference.quantize.plans import TWO, calibrated


def test_a_site_that_was_not_seen_is_named() -> None:
    model = small_model(TWO)
    ranges = seen_by(model)
    del ranges["decoder.1.cross_attention.context"]
    with pytest.raises(ValueError, match=r"site decoder\.1\.cross_attention\.context was not seen in calibration"):
        make_plan(model, preset("int8"), ranges)


def test_a_site_that_was_not_seen_is_named_under_every_target() -> None:
    model, seen = calibrated()
    for target in TARGETS:
        without = {name: value for name, value in seen.items() if name != "decoder.0.cross_attention.context"}
        with pytest.raises(ValueError, match=r"site decoder\.0\.cross_attention\.context was not seen in calibration"):
            make_plan(model, preset("native", target), without)


def test_a_site_that_is_always_zero_is_named() -> None:
    model = small_model(TWO)
    with torch.no_grad():
        model.encoder[0].feed_forward.expand.bias.fill_(-100.0)
    with pytest.raises(ValueError, match=r"site encoder\.0\.feed_forward\.hidden is always 0 in calibration"):
        planned(model, preset("int8"))


def test_weights_that_are_all_zero_are_named() -> None:
    model = small_model(TWO)
    with torch.no_grad():
        model.decoder[1].self_attention.key.weight.zero_()
    with pytest.raises(ValueError, match=r"site decoder\.1\.self_attention\.key\.weight: all weights are 0"):
        planned(model, preset("int8"))


def test_calibration_without_text_is_refused() -> None:
    with pytest.raises(ValueError, match="calibration text is empty"):
        calibrate(small_model(TWO), [])


def test_calibration_names_a_site_that_is_not_finite() -> None:
    model = small_model(TWO)
    with torch.no_grad():
        model.encoder[1].feed_forward.expand.weight[0, 0] = float("inf")
    with pytest.raises(ValueError, match=r"site encoder\.1\.feed_forward\.hidden takes the value"):
        seen_by(model)
