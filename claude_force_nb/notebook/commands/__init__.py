"""What each magic does: one file a magic."""
