"""The store: one SQLite file (WAL) and a folder of content-addressed blobs. All SQL lives in this package."""
