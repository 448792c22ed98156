"""The cases of the compression benchmark, one file each."""
