"""The trace of a run: what probes record, the one file it lies in, and how it is read back."""
