"""Labelled data sets, their preprocessing, and the metrics that judge a model on them."""
