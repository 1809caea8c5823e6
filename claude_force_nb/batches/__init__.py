"""Message Batches: rows sent together at half price and collected later.

`message_batches` is what others use. Behind it `store` keeps the state on disk, `sender` creates each batch once, `collector` takes its results in once, `registry`
lists and resumes the jobs of all kernels.
"""
