"""The uploaded files: in a folder of one machine, or in a place that all machines reach."""
