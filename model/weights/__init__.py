"""From files to a loaded transformer: safetensors folders and GGUF files."""
