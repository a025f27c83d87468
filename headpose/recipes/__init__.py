"""Training and compression recipes: their settings, and one TOML file per published network."""
