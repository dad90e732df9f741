"""One file for each noun of the command line; what they stand on is imported when they run."""
