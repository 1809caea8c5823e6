"""What may be written behind a magic: the table of options and settings, and how a line is read."""
