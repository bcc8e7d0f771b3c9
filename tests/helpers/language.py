"""Tiny pretrained text models that tests make."""

import tokenizers
import torch
import transformers

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "man", "plays", "guitar", "dog", "runs", "the")
SHAPE = {  # 16 numbers a token
    "vocab_size": len(WORDS),
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 24,
}


def tokenizer(special=True):
    """Words as they are; with ``special``, between [CLS] and [SEP] and padded by [PAD]."""
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
    """A BERT of random weights and its tokenizer; return the folder's name."""
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**SHAPE | shape))
    bars = transformers.utils.logging.is_progress_bar_enabled()
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        transformers.utils.logging.enable_progress_bar()
    tokenizer().save_pretrained(folder)
    return str(folder)
