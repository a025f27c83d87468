"""Report of results: reads result files and writes tables and plots, without measuring."""
