"""Drift of what models see and say, from the counts that devices sent. Pure: counts in, figures out."""
