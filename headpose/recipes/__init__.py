"""Published configurations, one TOML file each: ``headpose train NAME``."""
