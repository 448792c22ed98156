"""The store: one SQLite file (WAL) and one folder of content-addressed blobs. All SQL lives in this package."""
