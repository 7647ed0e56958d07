"""What a run says: report, tables, explanations, comparisons."""
