"""The admin API: what operators and the command line do, on a port of its own."""
