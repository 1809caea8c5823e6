"""Rooms of the batch jobs: what is kept of them on disk, what is sent, what comes back."""
