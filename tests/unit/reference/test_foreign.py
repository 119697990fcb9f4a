"""A configuration of another tool is refused by name; fields as those tools write them."""

import json
from pathlib import Path

import pytest

from reference.checkpoint import load_checkpoint

MARIAN = {"architectures": ["MarianMTModel"], "model_type": "marian", "d_model": 512, "vocab_size": 58101}
T5 = {"architectures": ["T5ForConditionalGeneration"], "d_ff": 2048, "d_model": 512, "model_type": "t5"}
BERT = {"architectures": ["BertForMaskedLM"], "hidden_size": 768, "model_type": "bert"}
CTRANSLATE2 = {"add_source_bos": False, "add_source_eos": True, "bos_token": "<s>", "decoder_start_token": "<s>"}
OPENNMT = {"src_vocab_size": 32000, "tgt_vocab_size": 32000, "encoder": {"encoder_type": "transformer"}}
FAIRSEQ = {"_name": "transformer", "encoder_embed_dim": 512, "encoder_layers": 6, "decoder_layers": 6}


@pytest.mark.parametrize(
    ("fields", "whose"),
    [
        (MARIAN, "a Hugging Face Marian model"),
        (T5, "a Hugging Face T5 model"),
        (BERT, "a Hugging Face BERT model"),
        ({"model_type": "mbart"}, "a Hugging Face model"),
        (CTRANSLATE2, "a CTranslate2 model"),
        (OPENNMT, "an OpenNMT model"),
        (FAIRSEQ, "a fairseq model"),
    ],
)
def test_another_tools_configuration_is_named(tmp_path: Path, fields: dict[str, object], whose: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=rf"config.json is not .*: it looks like {whose} .*vocabulary_size, d_model"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("fields", [{"vocabulary_size": 40, "layers": 2}, [1], {"vocabulary_size": "many"}])
def test_a_configuration_of_nobody_is_told_as_before(tmp_path: Path, fields: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"config.json is not a model configuration: (?!it looks like)"):
        load_checkpoint(tmp_path)
