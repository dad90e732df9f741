"""Workflows: DAGs of agent steps, each on its own key and its own slice of the budget.

What is here is pure: a definition is read and checked before anything of it runs.
"""
