"""Retrieval and answering: settings, store, index, packing, quotes and citations."""
