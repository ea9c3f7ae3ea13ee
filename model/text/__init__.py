"""Between text and token ids: tokenizer, chat formats, streaming."""
