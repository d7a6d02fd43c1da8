"""The report page: one HTML file with tables, charts and volumes that turn, which opens without a network."""
