"""Reward Studio's database: models, engine, migrations, and one module of queries per subject."""
