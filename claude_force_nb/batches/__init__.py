"""Message Batches: rows sent together at half price and collected later.

A *message batch* is a unit of the API: one create request, one id, one file of results. A *job* is the work that one run of
rows has sent to the API, in one or more *parts*, each of which is one message batch. Other rooms use `message_batches`.
Behind it, `store` keeps jobs on disk (`records` are its rows), `sender` creates each message batch exactly once,
`part_follower` claims, finds and collects a part, `collector` and `accounting` process its results exactly once, and
`registry` lists and resumes the jobs of all kernels.
"""
