"""Records: event types, the chain, migrations, queries, and the embedded engine."""
