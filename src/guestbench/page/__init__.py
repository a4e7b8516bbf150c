"""What a report is made of: blocks of typed data, and how numbers and texts are written."""
