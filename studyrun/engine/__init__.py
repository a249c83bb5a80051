"""The engine: one study carried out as arms that train, are measured and fork."""
