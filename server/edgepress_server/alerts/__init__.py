"""Alerts: rules over what devices and the server report, incidents, and who is told.

rule        what a rule says, and whether it makes sense            (plain values)
decide      ok -> pending -> firing -> resolving -> ok              (pure)
look        what there is to judge: figures of devices and groups
incidents   which firings are one incident                          (pure)
engine      carries it out, about every ten seconds
notices     who is told what, when                                  (pure)
sender      brings notices to webhooks, mail servers and brokers
"""
