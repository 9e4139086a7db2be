"""Reading files that may come from anyone: numbers, tables, arrays and pickles, of which nothing is executed."""
