"""Message Batches: rows sent together at half price and collected later.

A *message batch* is what the API calls so: one create, one id, one file of results. A *job* is what one run of rows left to the
API, in one or more *parts*, each of which is one message batch. `message_batches` is what other rooms use. Behind it `store`
keeps jobs on disk (`records` are its rows), `sender` creates each message batch once, `part_follower` claims, finds and
collects a part, `collector` and `accounting` take its results in once, and `registry` lists and resumes the jobs of all kernels.
"""
