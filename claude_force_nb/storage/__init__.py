"""Files on disk that all of a user's kernels share.

`private` creates folders and files that nobody else can read, `file_lock` locks open files, `database` recognises our
SQLite databases and opens them defensively, `lock_wait` waits for other processes that write to one, `shared_file` is
such a database with its own tables, `migration` upgrades its tables, `user_folders` determines the locations,
`regular_file` safely opens files that others may have prepared, `secret` finds the user's signing secret, and `mac`
computes authentication codes. Other rooms use the names in each module's ``__all__``; the meaning of a table is up to
the room that owns it.
"""
