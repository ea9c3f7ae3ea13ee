"""The OpenAI-compatible doors: chat, responses, completions, embeddings and models, under `/v1`."""
