"""One file per format; `reading.py` chooses among them. Nothing here is imported by the service itself."""
