"""Heads rendered with exact labels, written in 300W-LP's layout; needs the extra: synth."""
