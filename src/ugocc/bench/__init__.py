"""What everything costs, measured beside what the machine can do at all."""
