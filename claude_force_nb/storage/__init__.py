"""SQLite files that several kernels of a user share.

`shared_file` opens them with private permissions and waits for locks. Others use `SharedFile` and `data_folder`.
"""
