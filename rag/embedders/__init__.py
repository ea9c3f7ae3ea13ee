"""Embedding models: the bundled one, a folder, or a model in the local cache of the Hugging Face hub."""

from rag.embedders.base import Embedder, Vectors
from rag.embedders.load import load_embedder

__all__ = ["Embedder", "Vectors", "load_embedder"]
