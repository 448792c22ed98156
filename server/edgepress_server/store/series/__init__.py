"""Telemetry as series: raw samples, minutes and hours of each device and each group of devices.

    batches -> `sample_table` -> hot rows -> sealed blocks of samples
                              -> open minutes (a cache of the hot rows) -> sealed blocks of minutes and hours
                              -> minutes of the groups

A sealed block is written in the transaction that removes the hot rows it was made of: nothing is ever there
twice. All values are whole numbers (`edgepress_devices.metrics`), all rollups add: any two rows of one minute
may be merged at any time, in any order, with the same result.
"""
