"""What is shown: answers, receipts, progress, tables."""
