"""Whose `config.json` one is that is not ours, by fields that only its tool writes."""

from collections.abc import Mapping
from typing import Any

TELLTALES = (
    (("model_type", "marian"), "a Hugging Face Marian model"),
    (("model_type", "t5"), "a Hugging Face T5 model"),
    (("model_type", "bert"), "a Hugging Face BERT model"),
    (("model_type", None), "a Hugging Face model"),
    (("architectures", None), "a Hugging Face model"),
    (("transformers_version", None), "a Hugging Face model"),
    (("add_source_bos", None), "a CTranslate2 model"),
    (("decoder_start_token", None), "a CTranslate2 model"),
    (("src_vocab_size", None), "an OpenNMT model"),
    (("encoder_type", None), "an OpenNMT model"),
    (("encoder_embed_dim", None), "a fairseq model"),
    (("_name", None), "a fairseq model"),
)
"""A field, with its value or any, and whose it is; the first that is met says so."""


def owner(fields: Mapping[str, Any]) -> str | None:
    """Whose model a configuration looks like; None if nobody's that is known."""
    for (field, value), whose in TELLTALES:
        if field in fields and value in (None, fields[field]):
            return f"{whose} (its field {field})"
    return None
