"""Watches whether released models keep their budgets on the devices, and has better ones made.

decide.py      pure: minutes of telemetry and limits -> kept, missed, or not clear
next_step.py   pure: a finding and what is known of its jobs, search and rollout -> the next step
observe.py     reads the plain values that the two want
engine.py      acts on the store: findings, profiling jobs, searches, releases, rollouts
words.py       what is said to people
"""
