"""What runs workflows: the database of runs, executors, attempts, and their side of the ledger."""
