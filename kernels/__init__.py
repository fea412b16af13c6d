"""Triton programs, installed as ``vlp_fast.kernels``; one file per operator, none imported here."""
