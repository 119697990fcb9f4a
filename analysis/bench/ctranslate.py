"""The same model in CTranslate2, which runs Transformers in int8 on a CPU: weights as they are, names as it wants."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from analysis.bench.threads import peer
from reference.models.translation import Attention, FeedForward, Residual, Transformer
from reference.tokenizer import BOS, EOS, PAD, UNK

SPECIAL = {PAD: "<blank>", UNK: "<unk>", BOS: "<s>", EOS: "</s>"}
"""The pieces that CTranslate2 knows by name; all others are called by their id."""


def names(size: int) -> list[str]:
    """One name an id."""
    return [SPECIAL.get(i, str(i)) for i in range(size)]


def refusal(model: Transformer) -> str | None:
    """Why a model cannot be handed over, or None: CTranslate2 derives the width of a head."""
    config = model.config
    if config.n_heads * config.d_head != config.d_model:
        return f"ctranslate2: {config.n_heads} heads of {config.d_head} are not d_model {config.d_model}"
    return None


class Peer:
    """A model converted once, opened under any type and threads.

    Parameters
    ----------
    model
        Post-norm, ReLU, sinusoidal positions: what `reference.models.translation` writes.
    """

    def __init__(self, model: Transformer) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="hwsim-bench-")
        self.path = Path(self._folder.name)
        self.words = names(model.config.vocabulary_size)
        self._ids = {word: i for i, word in enumerate(self.words)}
        _spec(model, self.words).save(str(self.path))

    def open(self, compute_type: str, inter_threads: int, intra_threads: int) -> Any:
        """A translator; `inter_threads` batches at once, `intra_threads` threads for each."""
        return peer("ctranslate2").Translator(
            str(self.path), compute_type=compute_type, inter_threads=inter_threads, intra_threads=intra_threads
        )

    def translate(
        self, translator: Any, batches: Sequence[Sequence[list[int]]], limits: Sequence[int]
    ) -> list[list[int]]:
        """Greedy translations, EOS included, batch by batch in order; all batches are handed over at once.

        A limit is the most tokens of any translation of its batch.
        """
        pending: list[Any] = []
        for rows, limit in zip(batches, limits, strict=True):
            pending += translator.translate_batch(
                [[self.words[i] for i in row] for row in rows],
                beam_size=1,
                max_batch_size=0,
                max_decoding_length=limit,
                min_decoding_length=0,
                return_end_token=True,
                asynchronous=True,
            )
        return [[self._ids[word] for word in one.result().hypotheses[0]] for one in pending]

    def close(self) -> None:
        """Remove the converted files."""
        self._folder.cleanup()


def _spec(model: Transformer, words: list[str]) -> Any:
    """The model in CTranslate2's own words."""
    specs = peer("ctranslate2").specs
    config = model.config
    spec = specs.TransformerSpec.from_config(
        (config.encoder_layers, config.decoder_layers),
        config.n_heads,
        pre_norm=False,
        activation=specs.common_spec.Activation.RELU,
    )
    spec.config.layer_norm_epsilon = 1e-5  # of nn.LayerNorm
    for side, table in ((spec.encoder, model.source_embedding), (spec.decoder, model.target_embedding)):
        side.scale_embeddings = True  # by sqrt(d_model)
        side.position_encodings.encodings = _array(model.positions)
        embedding = side.embeddings[0] if isinstance(side.embeddings, list) else side.embeddings
        embedding.weight = _array(table.weight)
    spec.decoder.projection.weight = _array(model.generator.weight)
    for layer, ours in zip(spec.encoder.layer, model.encoder, strict=True):
        _attention(layer.self_attention, ours.self_attention, ours.attention_residual, own=True)
        _feed_forward(layer.ffn, ours.feed_forward, ours.feed_forward_residual)
    for layer, ours in zip(spec.decoder.layer, model.decoder, strict=True):
        _attention(layer.self_attention, ours.self_attention, ours.self_attention_residual, own=True)
        _attention(layer.attention, ours.cross_attention, ours.cross_attention_residual, own=False)
        _feed_forward(layer.ffn, ours.feed_forward, ours.feed_forward_residual)
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.validate()
    spec.optimize()
    return spec


def _attention(spec: Any, ours: Any, residual: Any, *, own: bool) -> None:
    """Fused as CTranslate2 wants it: query, key and value of one input side by side."""
    package = peer("ctranslate2")
    fuse = package.converters.utils.fuse_linear
    attention: Attention = ours
    parts = [package.specs.common_spec.LinearSpec() for _ in range(3)]
    for part, layer in zip(parts, (attention.query, attention.key, attention.value), strict=True):
        _linear(part, layer)
    if own:
        fuse(spec.linear[0], parts)
    else:
        _linear(spec.linear[0], attention.query)
        fuse(spec.linear[1], parts[1:])
    _linear(spec.linear[-1], attention.output)
    _norm(spec.layer_norm, residual)


def _feed_forward(spec: Any, ours: Any, residual: Any) -> None:
    layers: FeedForward = ours
    _linear(spec.linear_0, layers.expand)
    _linear(spec.linear_1, layers.contract)
    _norm(spec.layer_norm, residual)


def _linear(spec: Any, layer: nn.Linear) -> None:
    spec.weight, spec.bias = _array(layer.weight), _array(layer.bias)


def _norm(spec: Any, residual: Any) -> None:
    ours: Residual = residual
    spec.gamma, spec.beta = _array(ours.norm.weight), _array(ours.norm.bias)


def _array(tensor: Tensor) -> Any:
    return tensor.detach().float().contiguous().numpy()
