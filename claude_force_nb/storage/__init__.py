"""Files on disk that all of a user's kernels share.

`private` makes folders and files that nobody else can read, `file_lock` locks open files, `database` recognises our SQLite
databases and opens them defensively, `lock_wait` waits for others that write to one, `shared_file` is such a database with tables of
its own, `user_folders` says where all of this is, `regular_file` safely opens files that others may have prepared, `secret` finds the user's signing secret, and `mac`
computes authentication codes. Others use what these list in ``__all__``; the meaning of a table belongs to the room that owns it.
"""
