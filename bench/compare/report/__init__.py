"""The report: one HTML file that needs nothing but itself."""
