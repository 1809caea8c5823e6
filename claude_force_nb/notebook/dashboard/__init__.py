"""The live dashboard: its numbers, its picture and its widget."""
