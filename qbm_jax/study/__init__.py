"""What every study shares: estimates over seeds, tables of rows, figures and reports."""
