"""Operators that several targets have, or borrow."""

from hwsim.program.targets.records import Operator

DATAPATH = {
    "mask": Operator("masked keys take no part in a softmax", "fullyqt"),
    "activation": Operator("ReLU on the accumulator"),
    "embedding": Operator("one rounding, docs/numerics.md section 8", "fullyqt"),
    "generator": Operator("INT32 logits of one scale, docs/numerics.md section 9", "fullyqt"),
}
FULLYQT_LAYERNORM = Operator("four quantized parts, docs/numerics.md section 5", "fullyqt")
TABLE_SOFTMAX = Operator("its own is float; table and divider, docs/numerics.md section 4", "fullyqt")
TFLITE_LAYERNORM = Operator("integer LSTM layer normalisation of TensorFlow Lite, int16", "tflite")
