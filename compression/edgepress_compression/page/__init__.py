"""Reports as self-contained HTML: one file, no scripts, light and dark, from a phone's width on."""
