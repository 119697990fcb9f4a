"""Hardware so wide that no register cuts anything: the equations alone, to be held against the oracle."""

from tests.replay.registers import Register
from tests.replay.widths import Converter, LayerNorm, Softmax

REGISTER = Register(200)
CONVERTER = Converter("", REGISTER, REGISTER, REGISTER, REGISTER)
SOFTMAX = Softmax("", REGISTER, REGISTER, REGISTER)
LAYERNORM = LayerNorm("", REGISTER, REGISTER, REGISTER, REGISTER, REGISTER, CONVERTER)
