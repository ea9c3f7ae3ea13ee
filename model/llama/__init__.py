"""The Llama 3 architecture: configuration, rotary positions, transformer."""
