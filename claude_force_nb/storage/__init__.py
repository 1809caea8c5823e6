"""What lies on disk and is shared by all kernels of a user.

`private` makes folders and files that nobody else can read, `file_lock` locks open files, `database` tells our SQLite databases from
those of other programs and opens them with every guard, `shared_file` is such a database with tables of its own, `user_folders` says
where all that lies, `regular_file` opens what somebody else may have prepared,
`secret` finds the secret that a user signs with, `mac` makes the codes. Others use what these list in ``__all__``; what a table means is known by the room that has it.
"""
