"""What `hwsim estimate` asks, prices and shows: requests, tables, records for CSV and JSON, figures, comparisons."""
