"""Small things that many tests share: models, the programs lowered from them, and the sentences they read."""
