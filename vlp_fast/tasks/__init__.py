"""One file per objective: what is corrupted, which head answers, which loss, which count.

Tasks know batches and models; they read no file and own no weights.
"""
