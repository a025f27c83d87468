"""One report of what was measured: it reads result files, and measures nothing itself."""
