"""Tiny pretrained text models with random weights."""

import tokenizers
import torch
import transformers

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "man", "plays", "guitar", "dog", "runs", "the")
BERT_CONFIG = {
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
}


def make_tokenizer(special=True):
    """Return a word tokenizer; with ``special``, it adds [CLS] and [SEP] and pads with [PAD]."""
    words = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: k for k, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if not special:
        return transformers.PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    words.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=24,
    )


def save_bert(folder, **shape):
    """Save a BERT with random weights and its tokenizer; return the name of the folder."""
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**BERT_CONFIG | shape))
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        transformers.utils.logging.enable_progress_bar()
    make_tokenizer().save_pretrained(folder)
    return str(folder)
