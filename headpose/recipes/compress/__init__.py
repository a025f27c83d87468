"""Published compressions, one TOML file each: ``headpose compress NAME``."""
