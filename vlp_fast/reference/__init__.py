"""The definitions in plain torch: what runs on a CPU, what tests compare with, what is beaten."""
