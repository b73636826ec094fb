"""Everything that speaks to Postgres; what it stores is decided elsewhere."""
