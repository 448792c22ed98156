"""Finds the recipe that meets a budget: which trials are worth making, what came of them, which is best.

budget.py    what a person asks for, with its units
trial.py     one trial: a recipe, how far it was looked into, and its figures with where they come from
log.py       where trials are kept and claimed: a file here, tables on a server
space.py     what may vary for this model, profile and data set
propose.py   which trial next
evaluate.py  one trial, from its prediction to its decoded artifact on the data
front.py     Pareto front, hypervolume, the best point, the nearest point and what blocks it
search.py    the loop
"""
